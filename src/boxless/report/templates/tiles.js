// The gallery: tiles that are filled when they come into view.

const HEAT = [[70, 0, 120], [190, 20, 110], [250, 90, 30], [255, 215, 60]];
const STRONGEST_TINT = 0.62;
const tiles = new Map(); // place of an image -> its list item
const inView = new Set();

function element(tag, kind, text) {
  const made = document.createElement(tag);
  if (kind) made.className = kind;
  if (text !== undefined) made.textContent = text;
  return made;
}

function percent(part) {
  return `${(100 * part).toFixed(0)} %`;
}

function colourAt(level) {
  const place = (level / 255) * (HEAT.length - 1);
  const low = Math.min(Math.floor(place), HEAT.length - 2);
  return HEAT[low].map((value, channel) => value + (place - low) * (HEAT[low + 1][channel] - value));
}

const COLOURS = Array.from({ length: 256 }, (_, level) => colourAt(level));

/** Tint by the map; what is below the threshold is fainter. */
function drawMap(canvas, view) {
  const values = bytes(view.map);
  const side = Math.sqrt(values.length);
  const cut = 255 * (state.step === null ? view.own[0] : state.step / STEPS);
  const pixels = new ImageData(side, side);
  values.forEach((level, place) => {
    const strength = STRONGEST_TINT * level * (level > cut ? 1 : 0.4);
    pixels.data.set([...COLOURS[level], strength], 4 * place);
  });
  canvas.width = canvas.height = side;
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

function put(box, corners, size) {
  box.hidden = !area(corners);
  box.style.left = `${(100 * corners[0]) / size[0]}%`;
  box.style.top = `${(100 * corners[1]) / size[1]}%`;
  box.style.width = `${(100 * (corners[2] - corners[0])) / size[0]}%`;
  box.style.height = `${(100 * (corners[3] - corners[1])) / size[1]}%`;
}

/** Picture, map and boxes of an image into a frame. */
function fill(frame, place) {
  const image = data.images[place];
  if (frame.dataset.place !== String(place)) {
    frame.dataset.place = place;
    frame.style.setProperty("--w", image.size[0]);
    frame.style.setProperty("--h", image.size[1]);
    const picture = element("img");
    picture.alt = "";
    if (pictures[place]) picture.src = `data:image/jpeg;base64,${pictures[place]}`;
    const parts = [picture, element("canvas")];
    for (const corners of image.truth) {
      const box = element("i", "box true");
      put(box, corners, image.size);
      parts.push(box);
    }
    parts.push(...image.answers.map((_, run) => element("i", run ? "box second" : "box first")).reverse());
    frame.replaceChildren(...parts);
  }
  image.answers.forEach((_, run) => {
    put(frame.querySelector(run ? ".second" : ".first"), results[place][run].box, image.size);
  });
  if (state.maps) drawMap(frame.querySelector("canvas"), viewOf(image.answers[0]));
}

function namedText(image, run = 0) {
  const answer = image.answers[run];
  const name = data.classes[answer.first];
  if (!image.labels.length || image.labels.includes(answer.first)) return name;
  return `${name}, is ${image.labels.map((label) => data.classes[label]).join(", ")}`;
}

function toldText(place) {
  const image = data.images[place];
  const said = [`${percent(image.answers[0].score)} sure`];
  if (results[place][0].iou !== null) said.unshift(`IoU ${results[place].map((each) => each.iou.toFixed(2)).join(" / ")}`);
  return said.join(" · ");
}

function makeTile(place) {
  const item = element("li");
  const button = element("button", "tile");
  button.type = "button";
  const cell = element("span", "cell");
  cell.append(element("span", "frame"));
  button.append(cell, element("span", "named"), element("span", "told"));
  button.addEventListener("click", () => openView(place));
  item.append(button);
  item.place = place;
  watcher.observe(item);
  return item;
}

/** The words of a tile, which every one has at all times, seen or not: readers of screens and searches find them. */
function describe(item) {
  const { place } = item;
  const [, named, told] = item.firstChild.children;
  const { iou } = results[place][0];
  named.textContent = namedText(data.images[place]);
  told.textContent = toldText(place);
  told.className = `told ${iou === null ? "" : iou >= LEVEL ? "right" : "wrong"}`;
  item.firstChild.setAttribute("aria-label", `${data.images[place].name}: ${named.textContent}, ${told.textContent}`);
}

function paint(item) {
  describe(item);
  fill(item.querySelector(".frame"), item.place);
}

const watcher = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) {
        inView.add(target);
        paint(target);
      } else inView.delete(target);
    }
  },
  { rootMargin: "300px" },
);

function layOut() {
  const items = state.order.map((place) => {
    if (!tiles.has(place)) tiles.set(place, makeTile(place));
    describe(tiles.get(place));
    return tiles.get(place);
  });
  byId("tiles").replaceChildren(...items);
  const all = data.images.length;
  byId("count").textContent = items.length < all ? `${items.length} of ${all} images` : `${all} images`;
}

function repaint() {
  document.body.classList.toggle("mapped", state.maps);
  for (const item of inView) if (item.isConnected) paint(item);
}
