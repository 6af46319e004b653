// The stage of the review page. `element`, `server`, `props` and `watch` are Gradio's; what is shown comes from
// boxless.app.desk. Texts of others (file names, class names, errors) only ever go into textContent.
const find = (name) => element.querySelector(`.bx-${name}`);
const make = (tag, name, text) => {
  const node = document.createElement(tag);
  if (name) node.className = `bx-${name}`;
  if (text !== undefined) node.textContent = text;
  return node;
};
const root = find("name").closest(".bx");
const LEAST = 6; // pixels on the screen: a shorter drag is a click

let classes = [];
let image = null; // what the server says of the image that is shown
let boxes = []; // {xyxy, label, score}, in pixels of the original
let chosen = -1;
let edits = []; // what `boxes` was before each change
let passed = []; // images to be looked at later
let visited = []; // images shown before this one
let busy = false;
let showsMap = true;
let zoom = 1;
let draws = false; // whether the next drag draws, wherever it begins
let waits = false; // whether images without a decision are left
let moving = false; // whether the network still looks at images in the background

const colour = (label) => `hsl(${(label * 137.5 + 30) % 360} 90% 60%)`;
const percent = (value) => `${(100 * value).toFixed(value > 0.995 && value < 1 ? 1 : 0)} %`;
const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const say = (text) => { find("said").textContent = text; };

function complain(text) {
  find("trouble").textContent = text || "";
  find("trouble").hidden = !text;
}

// ---- what the server says

async function ask(name, request = {}) {
  try {
    return await server[`ask_${name}`](request);
  } catch (error) {
    return { error: "boxless does not answer. Look at the terminal that it runs in, and start it again if it stopped: nothing that you decided is lost." };
  }
}

/** One request at a time: a key that is pressed while another decision is on its way is not another decision. */
async function change(name, request, then) {
  if (busy) return;
  busy = true;
  find("frame").classList.add("bx-busy");
  const slow = setTimeout(() => say("The network looks …"), 1000);
  const answer = await ask(name, request);
  clearTimeout(slow);
  say("");
  busy = false;
  find("frame").classList.remove("bx-busy");
  complain(answer.error);
  if (answer.error) return;
  if (then) then(answer);
  show(answer);
}

function show(answer) {
  if (answer.progress) showProgress(answer.progress);
  image = answer.name ? { ...(image && image.name === answer.name ? image : {}), ...answer } : null;
  boxes = image ? image.boxes.map((box) => ({ ...box })) : [];
  chosen = -1;
  edits = [];
  find("stage").hidden = !image;
  find("empty").hidden = !!image;
  if (image && answer.image) {
    const [width, height] = image.size;
    find("stage").style.aspectRatio = `${width} / ${height}`;
    zoomTo(1);
    find("image").src = image.image;
    find("image").alt = image.name;
    if (image.map) find("map").src = image.map;
  }
  showFacts();
  render();
}

/** Show the image larger, with the place under the pointer staying where it is. */
function zoomTo(value, event) {
  const [stage, frame] = [find("stage"), find("frame")];
  const before = stage.getBoundingClientRect();
  const at = event ? [event.clientX, event.clientY] : [before.left + before.width / 2, before.top + before.height / 2];
  zoom = clamp(value, 1, 8);
  stage.style.width = `calc(min(100%, 64vh * ${image.size[0] / image.size[1]}) * ${zoom})`;
  const after = stage.getBoundingClientRect();
  frame.scrollLeft += after.left + ((at[0] - before.left) / before.width) * after.width - at[0];
  frame.scrollTop += after.top + ((at[1] - before.top) / before.height) * after.height - at[1];
}

function showFacts() {
  const facts = [];
  if (image) {
    facts.push(`${classes[classes.indexOf(image.label)] ?? image.label} ${percent(image.score)}`);
    if (image.presence !== null) facts.push(`object there ${percent(image.presence)}`);
    facts.push(`threshold ${image.threshold.toFixed(2)}`, `${image.size[0]} × ${image.size[1]}`);
  }
  find("name").textContent = image ? image.name : "";
  find("facts").textContent = facts.join(" · ");
  find("warning").textContent = (image && image.warning) || "";
  find("warning").hidden = !(image && image.warning);
  find("verdict").textContent = (image && image.verdict) || "";
  find("verdict").hidden = !(image && image.verdict);
  find("verdict").classList.toggle("bx-is-rejected", !!image && image.verdict === "rejected");
  find("map").hidden = !(image && image.map && showsMap);
  for (const button of element.querySelectorAll("[data-do]")) button.disabled = !image && button.dataset.do !== "undo";
}

function showProgress(at) {
  const part = (count) => `${at.images ? (100 * count) / at.images : 0}%`;
  find("accepted").style.width = part(at.accepted);
  find("rejected").style.width = part(at.rejected);
  find("bar").setAttribute("aria-valuemax", at.images);
  find("bar").setAttribute("aria-valuenow", at.accepted + at.rejected);
  const said = [`${(at.accepted + at.rejected).toLocaleString("en")} of ${plural(at.images, "image")}`];
  said.push(`${at.accepted} accepted${at.corrected ? ` (${at.corrected} corrected)` : ""}`, `${at.rejected} rejected`);
  if (at.refused) said.push(`${at.refused} cannot be read`);
  if (at.seen < at.images - at.refused) said.push(`${at.seen} looked at`);
  find("count").textContent = said.join(" · ");
  find("count").title = at.reasons.join("\n");
  if (at.trouble) complain(at.trouble);
  let empty = `All ${plural(at.images, "image")} are done. Export what you accepted; it is kept in ${at.saved_to}.`;
  if (!at.images) empty = "No image yet: drop some under “Add images”.";
  else if (at.left > 0) empty = "The network looks at the first images …";
  else if (at.images === at.refused) empty = `No image can be shown. ${at.reasons[0]}`;
  find("empty").textContent = empty;
  waits = at.left > 0;
  moving = at.seen < at.images - at.refused;
}

// ---- boxes

function render() {
  find("boxes").replaceChildren(...boxes.map(boxNode));
  find("list").replaceChildren(...boxes.map(rowNode));
  if (image && !boxes.length) find("list").append(make("span", "facts", image.absent ? "Nothing to find here, says the network." : "No box. Drag on the image to draw one."));
  find("stage").classList.toggle("bx-drawing", draws);
  element.querySelector("[data-do=draw]").setAttribute("aria-pressed", draws);
  element.querySelector("[data-do=map]").setAttribute("aria-pressed", showsMap);
}

function place(node, box) {
  const [width, height] = image.size;
  const [x0, y0, x1, y1] = box.xyxy;
  node.style.left = `${(100 * x0) / width}%`;
  node.style.top = `${(100 * y0) / height}%`;
  node.style.width = `${(100 * (x1 - x0)) / width}%`;
  node.style.height = `${(100 * (y1 - y0)) / height}%`;
  node.firstChild.classList.toggle("bx-inside", y0 < 0.06 * height);
}

function boxNode(box, index) {
  const node = make("div", "box");
  const text = `${classes[box.label]} ${box.score === null ? "" : percent(box.score)}`.trim();
  node.style.setProperty("--c", colour(box.label));
  node.style.zIndex = 10 + boxes.filter((other) => area(other) > area(box)).length + (index === chosen ? 1000 : 0);
  node.classList.toggle("bx-chosen", index === chosen);
  node.dataset.index = index;
  node.tabIndex = 0;
  node.setAttribute("role", "group");
  node.setAttribute("aria-label", `box ${index + 1}, ${text}`);
  node.append(make("span", "tag", text));
  for (const [x, y] of [[1, 0], [0, 1], [2, 1], [1, 2], [0, 0], [2, 0], [0, 2], [2, 2]]) {
    const handle = make("i", "handle");
    Object.assign(handle.dataset, { x, y });
    node.append(handle);
  }
  node.addEventListener("focus", () => choose(index));
  place(node, box);
  return node;
}

function rowNode(box, index) {
  const row = make("div", "row");
  row.style.setProperty("--c", colour(box.label));
  row.classList.toggle("bx-chosen", index === chosen);
  const select = make("select");
  select.setAttribute("aria-label", `class of box ${index + 1}`);
  classes.forEach((name, label) => select.add(new Option(label < 9 ? `${label + 1}  ${name}` : name, label, false, label === box.label)));
  select.addEventListener("change", () => { chosen = index; setClass(Number(select.value)); });
  const remove = make("button", "", "×");
  remove.type = "button";
  remove.setAttribute("aria-label", `remove box ${index + 1}`);
  remove.addEventListener("click", () => { chosen = index; removeBox(); });
  row.append(select, make("span", "", box.score === null ? "yours" : percent(box.score)), remove);
  return row;
}

const area = ({ xyxy: [x0, y0, x1, y1] }) => (x1 - x0) * (y1 - y0);

function choose(index) {
  if (index === chosen) return;
  chosen = index;
  [...find("boxes").children].forEach((node, i) => {
    node.classList.toggle("bx-chosen", i === chosen);
    node.style.zIndex = 10 + (i === chosen ? 1000 : boxes.filter((other) => area(other) > area(boxes[i])).length);
  });
  [...find("list").children].forEach((node, i) => node.classList.toggle("bx-chosen", i === chosen));
}

/** Change the boxes in a way that can be undone. */
function edit(next, index = chosen) {
  edits.push(boxes);
  boxes = next;
  chosen = Math.min(index, boxes.length - 1);
  render();
  if (chosen >= 0) find("boxes").children[chosen].focus({ preventScroll: true });
}

const target = () => (chosen >= 0 ? chosen : boxes.length === 1 ? 0 : -1);
const withBox = (index, box) => boxes.map((each, i) => (i === index ? box : each));

function setClass(label) {
  const index = target();
  if (index < 0) say("Choose a box first: click it, or press Tab.");
  else if (label < classes.length && label !== boxes[index].label) edit(withBox(index, { ...boxes[index], label, score: null }), index);
}

function removeBox() {
  const index = target();
  if (index >= 0) edit(boxes.filter((_, i) => i !== index), -1);
}

function nudge(x, y, resizes) {
  const [width, height] = image.size;
  const [x0, y0, x1, y1] = boxes[chosen].xyxy;
  let corners;
  if (resizes) corners = [x0, y0, clamp(x1 + x, x0 + 1, width), clamp(y1 + y, y0 + 1, height)];
  else {
    const [right, down] = [clamp(x, -x0, width - x1), clamp(y, -y0, height - y1)];
    corners = [x0 + right, y0 + down, x1 + right, y1 + down];
  }
  edit(withBox(chosen, { ...boxes[chosen], xyxy: corners, score: null }));
}
