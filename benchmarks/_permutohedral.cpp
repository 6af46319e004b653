// The plain C name by which losses.py calls the filter of rloss. It is compiled beside the sources of rloss, of which
// this project keeps none.

#include "bilateralfilter.hpp"

extern "C" void filter(float *images, float *maps, float *filtered, int batch, int channels, int height, int width,
                       float sigma_rgb, float sigma_xy, int threads) {
    const int pixels = height * width;
    // Before each call: the filter lowers the number of threads to that of the images, and leaves it so.
    omp_set_num_threads(threads);
    bilateralfilter_batch(images, batch * 3 * pixels, maps, batch * channels * pixels, filtered,
                          batch * channels * pixels, batch, channels, height, width, sigma_rgb, sigma_xy);
}
