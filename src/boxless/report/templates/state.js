// What the page shows now: the threshold, what is chosen, and what follows from them for every image.

const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const pictures = byId("pictures").textContent.split("\n");
const several = data.runs.length > 1;
const boxed = data.images.some((image) => image.truth.length);
const labelled = data.images.some((image) => image.labels.length);
const WORDS = {
  right: "right",
  class: "wrong class",
  multi_instance: "several objects in the box",
  part: "part of the object",
  more: "more than the object",
  other: "something else",
};

const state = {
  step: null, // of the threshold, in thousandths; null: each run's own rule
  of: "true", // whose map: that of the true class, or of the one that was named
  maps: false,
  sort: boxed ? "drawn" : "unsure",
  label: "",
  first: "",
  kind: "",
  search: "",
  order: [], // places of the images that are shown
};
const results = data.images.map(() => []); // of each image what each run says at this threshold

function viewOf(answer) {
  return answer.views[state.of === "named" ? answer.views.length - 1 : 0];
}

function measure() {
  data.images.forEach((image, place) => {
    results[place] = image.answers.map((answer) => {
      const box = boxAt(viewOf(answer), state.step, image.size);
      return { box, ...judge(box, image.truth, image.labels.includes(answer.first)) };
    });
  });
}

/** Box accuracy and mean IoU of some images, of one run; null where none has a true box. */
function figures(places, run = 0) {
  const known = places.map((place) => results[place][run]).filter((each) => each.iou !== null);
  if (!known.length) return null;
  const right = known.filter((each) => each.iou >= LEVEL).length;
  const sum = known.reduce((total, each) => total + each.iou, 0);
  return { count: known.length, accuracy: (100 * right) / known.length, iou: sum / known.length };
}

const SORTS = {
  drawn: ["as drawn (random)", null],
  worst: ["worst first (IoU)", (a, b) => results[a][0].iou - results[b][0].iou],
  best: ["best first (IoU)", (a, b) => results[b][0].iou - results[a][0].iou],
  unsure: ["least sure first", (a, b) => sureness(a) - sureness(b)],
  sure: ["surest first", (a, b) => sureness(b) - sureness(a)],
  name: ["by name", (a, b) => compareTexts(data.images[a].name, data.images[b].name)],
  lost: ["second run worse", (a, b) => gain(a) - gain(b)],
  gained: ["second run better", (a, b) => gain(b) - gain(a)],
  apart: ["runs furthest apart", (a, b) => agreement(a) - agreement(b)],
};

function sureness(place) {
  return data.images[place].answers[0].score;
}

function compareTexts(a, b) {
  return a.localeCompare(b, undefined, { numeric: true });
}

function gain(place) {
  return results[place][1].iou - results[place][0].iou;
}

function agreement(place) {
  const [a, b] = results[place].map((each) => each.box);
  const both = common(a, b);
  return both / Math.max(area(a) + area(b) - both, 1e-9);
}

function sortsAtHand() {
  const needs = { worst: boxed, best: boxed, lost: boxed && several, gained: boxed && several, apart: several };
  return Object.keys(SORTS).filter((name) => needs[name] ?? true);
}

/** The places that pass every filter but that of the kind, in the page's order. */
function chosen() {
  const wanted = state.search.toLowerCase();
  return data.images.flatMap((image, place) => {
    const fits =
      (state.label === "" || image.labels.includes(Number(state.label))) &&
      (state.first === "" || image.answers[0].first === Number(state.first)) &&
      (!wanted || image.name.toLowerCase().includes(wanted));
    return fits ? [place] : [];
  });
}

function kindsOf(place) {
  const warned = data.images[place].answers[0].warning ? ["warned"] : [];
  return [results[place][0].kind, ...warned];
}

function arrange() {
  const by = SORTS[state.sort][1];
  state.order = chosen().filter((place) => !state.kind || kindsOf(place).includes(state.kind));
  if (by) state.order.sort((a, b) => by(a, b) || a - b);
}

function shownThreshold() {
  return state.step === null ? data.runs[0].threshold : state.step / STEPS;
}
