// One image, large, and the keys.

const view = byId("view");
const help = byId("help");
let open = -1; // place of the image in the large view

function openView(place) {
  open = place;
  if (!view.open) view.showModal();
  showLarge();
}

function move(by) {
  const at = state.order.indexOf(open);
  const next = state.order[at + by];
  if (next !== undefined) openView(next);
}

function showLarge() {
  if (!view.open || open < 0) return;
  const image = data.images[open];
  const frame = byId("large");
  fill(frame, open);
  image.answers.forEach((answer, run) => tag(frame.querySelector(run ? ".second" : ".first"), image, run));
  byId("view-name").textContent = image.name;
  const at = state.order.indexOf(open);
  byId("place").textContent = at < 0 ? "not among the images shown" : `${at + 1} of ${state.order.length}`;
  byId("before").disabled = at < 1;
  byId("after").disabled = at + 1 >= state.order.length;
  byId("view-facts").replaceChildren(
    ...factsOf(image, open).flatMap(([title, text]) => [element("dt", "", title), element("dd", "", text)]),
  );
}

function tag(box, image, run) {
  const answer = image.answers[run];
  const name = state.of === "true" && image.labels.length ? nameOfMap(image, answer) : data.classes[answer.first];
  const label = box.firstChild ?? element("span", "tag");
  label.textContent = several ? `${name}, ${data.runs[run].name}` : name;
  label.classList.toggle("inside", results[open][run].box[1] < 0.08 * image.size[1]);
  box.append(label);
}

/** The class whose map the box is from: of several true ones that which was named, else the first. */
function nameOfMap(image, answer) {
  const label = image.labels.includes(answer.first) ? answer.first : image.labels[0];
  return data.classes[label];
}

function factsOf(image, place) {
  const facts = [];
  if (image.labels.length) facts.push(["true class", image.labels.map((label) => data.classes[label]).join(", ")]);
  image.answers.forEach((answer, run) => {
    const result = results[place][run];
    const who = several ? ` (${data.runs[run].name})` : "";
    facts.push([`named${who}`, `${data.classes[answer.first]}, ${percent(answer.score)} sure`]);
    if (result.iou !== null) facts.push([`IoU${who}`, `${result.iou.toFixed(3)}: ${WORDS[result.kind]}`]);
    facts.push([`box${who}`, area(result.box) ? result.box.map((edge) => edge.toFixed(0)).join(", ") : "none"]);
    if (state.step === null) facts.push([`threshold${who}`, viewOf(answer).own[0].toFixed(3)]);
    if (answer.warning) facts.push([`map${who}`, `not to be trusted: ${answer.warning.replaceAll("_", " ")}`]);
  });
  facts.push(["size", `${image.size[0]} x ${image.size[1]} pixels`]);
  return facts;
}

function moveFocus(by) {
  const at = state.order.indexOf(document.activeElement.closest?.("li")?.place);
  const next = state.order[at + by];
  if (at >= 0 && next !== undefined) tiles.get(next).firstChild.focus();
}

const KEYS = {
  ArrowLeft: () => (view.open ? move(-1) : moveFocus(-1)),
  ArrowRight: () => (view.open ? move(1) : moveFocus(1)),
  "+": () => nudge(10),
  "=": () => nudge(10),
  "-": () => nudge(-10),
  0: () => setStep(null),
  m: () => setMaps(!state.maps),
  "/": () => byId("search").focus(),
  "?": () => (help.open ? help.close() : help.showModal()),
};

function onKey(event) {
  const isTyping = event.target.matches?.("input[type=search], select");
  const isSlider = event.target.matches?.("input[type=range]") && event.key.startsWith("Arrow");
  if (isTyping || isSlider || event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key]();
}

/** A swipe to the side moves between images, as people expect of a phone. */
function swipes(stage) {
  let start = null;
  stage.addEventListener("touchstart", (event) => {
    start = event.touches[0].clientX;
  }, { passive: true });
  stage.addEventListener("touchend", (event) => {
    const way = event.changedTouches[0].clientX - start;
    if (Math.abs(way) > 60) move(way < 0 ? 1 : -1);
  }, { passive: true });
}
