// Boxes from what is stored of each image, and how they overlap: as boxless.ops.boxes and boxless.metrics.errors do.

const STEPS = 1000;
const KINDS = ["right", "class", "multi_instance", "part", "more", "other"];
const LEVEL = 0.5;

function bytes(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const letters = atob(text);
  const found = new Uint8Array(letters.length);
  for (let place = 0; place < found.length; place += 1) found[place] = letters.charCodeAt(place);
  return found;
}

/** Rows `since, x0, y0, x1, y1` as numbers; they are unpacked when they are first asked for. */
function rows(view) {
  if (typeof view.runs === "string") {
    view.runs = new Uint16Array(bytes(view.runs).buffer);
  }
  return view.runs;
}

/** The box at a threshold in thousandths, or at the run's own one if that is null; in pixels of the original. */
function boxAt(view, step, size) {
  let box = view.own.slice(1);
  if (step !== null) {
    const table = rows(view);
    let low = 0;
    let high = table.length / 5 - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (table[5 * middle] <= step) low = middle;
      else high = middle - 1;
    }
    box = table.subarray(5 * low + 1, 5 * low + 5);
  }
  const [width, height] = [size[0] / view.grid[0], size[1] / view.grid[1]];
  return [box[0] * width, box[1] * height, box[2] * width, box[3] * height];
}

function area(box) {
  return Math.max(box[2] - box[0], 0) * Math.max(box[3] - box[1], 0);
}

function common(a, b) {
  const width = Math.min(a[2], b[2]) - Math.max(a[0], b[0]);
  const height = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  return Math.max(width, 0) * Math.max(height, 0);
}

/** The IoU with the true box that fits best, and the kind of error; nothing without a true box. */
function judge(box, truth, classRight) {
  if (!truth.length) return { iou: null, kind: null };
  const own = area(box);
  let best = { iou: -1 };
  let several = 0;
  for (const each of truth) {
    const both = common(box, each);
    const whole = area(each);
    const found = { iou: both / (own + whole - both), both, shown: both / whole };
    if (found.iou > best.iou) best = found;
    if (found.shown > 0.3) several += 1;
  }
  return { iou: best.iou, kind: classRight ? kindOf(best, own, several) : "class" };
}

function kindOf(best, own, several) {
  if (best.iou >= LEVEL) return "right";
  if (several > 1) return "multi_instance";
  if (own > 0 && best.both / own > 0.5) return "part";
  return best.shown > 0.7 ? "more" : "other";
}
