// What a person does on the review page, with mouse, finger or keys; goes on where stage.js ends.

// ---- dragging

let drag = null; // {index, handle, from: [x, y], before: boxes, box}

function inImage(event) {
  const frame = find("boxes").getBoundingClientRect();
  const [width, height] = image.size;
  return [
    clamp(((event.clientX - frame.left) / frame.width) * width, 0, width),
    clamp(((event.clientY - frame.top) / frame.height) * height, 0, height),
  ];
}

find("stage").addEventListener("pointerdown", (event) => {
  if (!image || busy || event.button !== 0 || drag) return;
  const node = event.target.closest(".bx-box");
  const index = node ? Number(node.dataset.index) : -1;
  if (index < 0 && event.pointerType === "touch" && !draws) return; // it scrolls
  event.preventDefault();
  const handle = event.target.closest(".bx-handle");
  if (index >= 0) { choose(index); node.focus({ preventScroll: true }); }
  drag = { index, handle: handle && { x: Number(handle.dataset.x), y: Number(handle.dataset.y) }, from: inImage(event), at: [event.clientX, event.clientY], before: boxes, moved: false };
  find("stage").setPointerCapture(event.pointerId);
});

find("stage").addEventListener("pointermove", (event) => {
  if (!drag) return;
  drag.moved = drag.moved || Math.hypot(event.clientX - drag.at[0], event.clientY - drag.at[1]) >= LEAST;
  if (!drag.moved) return;
  const box = dragged(inImage(event));
  boxes = drag.index >= 0 ? drag.before.map((each, i) => (i === drag.index ? box : each)) : [...drag.before, box];
  if (drag.index >= 0) place(find("boxes").children[drag.index], box);
  else { chosen = boxes.length - 1; render(); }
});

function dragged([x, y]) {
  const [width, height] = image.size;
  if (drag.index < 0) {
    const [x0, y0] = drag.from;
    const xyxy = [Math.min(x0, x), Math.min(y0, y), Math.max(x0, x), Math.max(y0, y)];
    return { xyxy, label: Math.max(0, classes.indexOf(image.label)), score: null };
  }
  const old = drag.before[drag.index];
  const [right, down] = [x - drag.from[0], y - drag.from[1]];
  let [x0, y0, x1, y1] = old.xyxy;
  if (drag.handle) {
    if (drag.handle.x === 0) x0 = clamp(x0 + right, 0, width);
    if (drag.handle.x === 2) x1 = clamp(x1 + right, 0, width);
    if (drag.handle.y === 0) y0 = clamp(y0 + down, 0, height);
    if (drag.handle.y === 2) y1 = clamp(y1 + down, 0, height);
    [x0, x1, y0, y1] = [Math.min(x0, x1), Math.max(x0, x1), Math.min(y0, y1), Math.max(y0, y1)];
  } else {
    const [sideways, upright] = [clamp(right, -x0, width - x1), clamp(down, -y0, height - y1)];
    [x0, y0, x1, y1] = [x0 + sideways, y0 + upright, x1 + sideways, y1 + upright];
  }
  return { ...old, xyxy: [x0, y0, x1, y1], score: null };
}

function letGo(event, keeps) {
  if (!drag) return;
  const { before, index, moved } = drag;
  drag = null;
  const after = boxes;
  boxes = before;
  const place = index >= 0 ? index : after.length - 1;
  const large = moved && after[place].xyxy[2] - after[place].xyxy[0] >= 1 && after[place].xyxy[3] - after[place].xyxy[1] >= 1;
  if (keeps && large) {
    draws = false;
    edit(after, place);
  } else if (index < 0 || moved) {
    chosen = index;
    render();
  }
}

find("stage").addEventListener("pointerup", (event) => letGo(event, true));
find("stage").addEventListener("pointercancel", (event) => letGo(event, false));

find("frame").addEventListener("wheel", (event) => {
  if (!image || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  zoomTo(zoom * (event.deltaY < 0 ? 1.25 : 0.8), event);
}, { passive: false });

// ---- what can be done

const asked = () => ({ passed, boxes: boxes.map(({ xyxy, label }) => ({ xyxy, label })) });

function decide(verdict) {
  if (!image) return;
  const name = image.name;
  change("decide", { ...asked(), name, verdict }, () => {
    visited.push(name);
    say(`${name}: ${verdict}`);
  });
}

const actions = {
  accept: () => decide("accepted"),
  reject: () => decide("rejected"),
  later() {
    if (!image || busy) return;
    const name = image.name;
    passed = [...passed.filter((each) => each !== name), name];
    change("look", { passed }, () => { visited.push(name); say(`${name}: later`); });
  },
  undo() {
    if (edits.length) {
      boxes = edits.pop();
      chosen = -1;
      render();
      say("change undone");
    } else change("undo", {}, (answer) => say(`${answer.name}: decision taken back`));
  },
  back() {
    const name = visited.pop();
    if (name) change("look", { name });
    else say("This is the first image.");
  },
  draw() { draws = !draws; render(); if (draws) say("Drag on the image to draw a box."); },
  map() { showsMap = !showsMap; showFacts(); render(); },
  larger: () => image && zoomTo(zoom * 1.5),
  smaller: () => image && zoomTo(zoom / 1.5),
  remove: removeBox,
  release() { draws = false; chosen = -1; render(); root.focus({ preventScroll: true }); },
  list() { const row = find("list").children[target()]; if (row) row.querySelector("select").focus(); },
};

for (const button of element.querySelectorAll("[data-do]")) {
  button.addEventListener("click", () => { actions[button.dataset.do](); root.focus({ preventScroll: true }); });
}

const KEYS = { a: "accept", r: "reject", s: "later", z: "undo", b: "back", n: "draw", m: "map", c: "list", "+": "larger", "=": "larger", "-": "smaller", delete: "remove", backspace: "remove", escape: "release" };
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const SLIDERS = ["range", "checkbox", "radio", "button", "file"];

/** Whether keys belong to what has the focus: text is typed there, or an option chosen. */
function takesKeys(node, key) {
  if (node.isContentEditable || node.tagName === "TEXTAREA") return true;
  if (node.tagName === "SELECT") return key !== "Escape";
  if (node.tagName !== "INPUT") return false;
  return !SLIDERS.includes(node.type) || key in ARROWS;
}

function pressed(event) {
  if (!element.isConnected) { document.removeEventListener("keydown", pressed); return; }
  if (takesKeys(event.target, event.key) || event.metaKey || (event.ctrlKey && event.key.toLowerCase() !== "z")) return;
  const name = KEYS[event.key.toLowerCase()];
  if (event.key in ARROWS && chosen >= 0 && image) {
    const step = event.shiftKey ? 10 : 1;
    nudge(...ARROWS[event.key].map((value) => value * step), event.altKey);
  } else if (event.altKey) return;
  else if (name && !(event.repeat && ["accept", "reject", "undo"].includes(name))) actions[name]();
  else if (/^[1-9]$/.test(event.key) && image) setClass(Number(event.key) - 1);
  else if (event.key === "Tab" && [document.body, root].includes(event.target) && boxes.length) find("boxes").children[event.shiftKey ? boxes.length - 1 : 0].focus({ preventScroll: true });
  else return;
  event.preventDefault();
}
document.addEventListener("keydown", pressed);

// ---- the beginning, and what happens beside the review

watch("value", () => {
  const told = props.value || {};
  complain(told.error);
  if (told.show) change("look", { name: told.show });
  else if (told.again && image) {
    const mine = edits.length ? boxes : null;
    change("look", { name: image.name, boxes_only: true }, () => say(mine ? "Found anew: your changes to this image are gone." : ""));
  }
});

async function keepUp() {
  if (!element.isConnected) return;
  if (moving || (waits && !image)) {
    const answer = await ask("progress");
    if (answer.progress) showProgress(answer.progress);
    if (waits && !image && !busy) await change("look", { passed });
  }
  setTimeout(keepUp, image ? 1500 : 400);
}

(async () => {
  const begun = await ask("begin");
  if (begun.error) complain(begun.error);
  else {
    classes = begun.classes;
    showProgress(begun.progress);
    showFacts();
  }
  keepUp();
})();
