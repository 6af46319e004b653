// What happens on a click, and the first drawing.

/** A new threshold: boxes and figures follow at once, the order of the images when the hand is still. */
function setStep(step, settled = true) {
  state.step = step;
  measure();
  showThreshold();
  showFigures();
  showKinds();
  repaint();
  showLarge();
  if (settled) settle();
}

function settle() {
  const before = state.order.join();
  arrange();
  if (state.order.join() !== before) layOut();
  else for (const place of state.order) describe(tiles.get(place));
  showClasses();
}

function nudge(by) {
  const at = state.step ?? middle();
  setStep(Math.min(Math.max(at + by, 0), STEPS - 1), !view.open);
}

function setMaps(on) {
  state.maps = on;
  for (const id of ["maps", "view-maps"]) byId(id).setAttribute("aria-pressed", on);
  repaint();
  showLarge();
}

/** What is chosen of the images; the controls say the same. */
function choose(changes) {
  Object.assign(state, changes);
  for (const id of ["label", "first", "search", "sort"]) if (byId(id)) byId(id).value = state[id];
  arrange();
  layOut();
  showFigures();
  showKinds();
}

async function copy() {
  const text = byId("command").textContent;
  try {
    await navigator.clipboard.writeText(text);
    byId("copied").textContent = "copied";
  } catch {
    getSelection().selectAllChildren(byId("command"));
    byId("copied").textContent = "selected: copy it with your keys";
  }
  setTimeout(() => (byId("copied").textContent = ""), 2500);
}

function addOptions(select, options) {
  for (const [value, text] of options) select?.append(Object.assign(element("option", "", text), { value }));
}

function fillSelects() {
  addOptions(byId("sort"), sortsAtHand().map((name) => [name, SORTS[name][0]]));
  byId("sort").value = state.sort;
  const named = new Set(data.images.map((image) => image.answers[0].first));
  const labels = new Set(data.images.flatMap((image) => image.labels));
  const sorted = (places) => [...places].sort((a, b) => a - b).map((place) => [place, data.classes[place]]);
  addOptions(byId("first"), sorted(named));
  addOptions(byId("label"), sorted(labels));
}

function listen() {
  for (const id of ["threshold", "view-threshold"]) {
    byId(id).addEventListener("input", (event) => setStep(Number(event.target.value), false));
    byId(id).addEventListener("change", settle);
  }
  for (const id of ["sort", "label", "first"]) {
    byId(id)?.addEventListener("change", (event) => choose({ [id]: event.target.value }));
  }
  byId("search").addEventListener("input", (event) => choose({ search: event.target.value }));
  byId("of")?.addEventListener("change", (event) => {
    state.of = event.target.value;
    setStep(state.step);
  });
  byId("reset").addEventListener("click", () => setStep(null));
  byId("copy").addEventListener("click", copy);
  for (const id of ["maps", "view-maps"]) byId(id).addEventListener("click", () => setMaps(!state.maps));
  byId("keys").addEventListener("click", () => help.showModal());
  byId("close-help").addEventListener("click", () => help.close());
  byId("close").addEventListener("click", () => view.close());
  byId("before").addEventListener("click", () => move(-1));
  byId("after").addEventListener("click", () => move(1));
  view.addEventListener("close", () => {
    settle();
    tiles.get(open)?.firstChild.focus();
  });
  byId("kinds").addEventListener("click", (event) => {
    const { kind } = event.target.closest("button")?.dataset ?? {};
    if (kind) choose({ kind: state.kind === kind ? "" : kind });
  });
  byId("classes")?.addEventListener("click", (event) => {
    const { label, first } = event.target.closest("button")?.dataset ?? {};
    if (label === undefined) return;
    choose({ label, first, kind: "", search: "" });
    byId("images").scrollIntoView();
  });
  document.addEventListener("keydown", onKey);
  swipes(view.querySelector(".stage"));
}

function start() {
  fillSelects();
  byId("filters").open = !matchMedia("(max-width: 40rem)").matches;
  listen();
  showMark();
  setStep(null);
  new IntersectionObserver((entries, observer) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    drawCurves();
  }, { rootMargin: "200px" }).observe(byId("curves"));
}

start();
