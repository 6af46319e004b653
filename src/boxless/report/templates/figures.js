// Figures that move with the threshold, tables of classes, and curves.

function figureText(found) {
  if (!found) return "";
  return `box accuracy <${found.accuracy.toFixed(1)} %> · mean IoU <${found.iou.toFixed(3)}>`;
}

/** Text in which what stands in angle brackets is set in bold. */
function setText(target, text) {
  const parts = text.split(/<([^>]*)>/).map((part, number) => (number % 2 ? element("b", "", part) : part));
  target.replaceChildren(...parts);
}

function showFigures() {
  const every = data.images.map((_, place) => place);
  const runs = data.runs.map((run, number) => {
    const text = figureText(figures(every, number));
    return several && text ? `${run.name}: ${text}` : text;
  });
  byId("all").replaceChildren();
  for (const text of runs) {
    const line = element("div");
    setText(line, text);
    byId("all").append(line);
  }
  const some = chosen();
  const found = some.length < every.length ? figures(some) : null;
  byId("some").textContent = found ? `${found.count} chosen: ${figureText(found).replaceAll(/[<>]/g, "")}` : "";
}

function showThreshold() {
  const value = shownThreshold();
  const own = state.step === null;
  const words = own ? (value === null ? "each map's own (Otsu)" : value.toFixed(3)) : value.toFixed(3);
  byId("value").textContent = byId("view-value").textContent = words;
  byId("rule").textContent = own ? `the run's own: ${data.runs[0].from}` : "yours";
  for (const id of ["threshold", "view-threshold"]) {
    byId(id).value = own ? middle() : state.step;
    byId(id).setAttribute("aria-valuetext", words);
  }
  byId("reset").disabled = own;
  const option = own ? "" : ` --threshold ${value}`;
  byId("command").textContent = `boxless predict ${data.runs[0].folder} IMAGES --out boxes${option}`;
}

/** Where the slider stands at the run's own rule: at the median where each map has its own. */
function middle() {
  const rule = data.runs[0].threshold;
  if (rule !== null) return Math.round(rule * STEPS);
  const owns = data.images.map((image) => viewOf(image.answers[0]).own[0]).sort((a, b) => a - b);
  return Math.round(owns[owns.length >> 1] * STEPS);
}

function showMark() {
  const rule = data.runs[0].threshold;
  if (rule !== null) {
    byId("mark").hidden = false;
    byId("mark").style.left = `calc(9px + (100% - 18px) * ${(rule * STEPS) / (STEPS - 1)})`;
    byId("mark").classList.toggle("late", rule > 0.7);
  }
  if (data.curves[0]) {
    const heights = data.curves[0].accuracy[LEVEL];
    const most = Math.max(...heights, 1);
    const line = heights.map((value, step) => `L${step},${(100 - (100 * value) / most).toFixed(1)}`).join("");
    byId("hill").setAttribute("d", `M0,100${line}L${STEPS - 1},100Z`);
  }
}

function showKinds() {
  const counts = {};
  for (const place of chosen()) for (const kind of kindsOf(place)) counts[kind] = (counts[kind] ?? 0) + 1;
  const names = [...KINDS.filter((kind) => counts[kind]), ...(counts.warned ? ["warned"] : [])];
  const chips = names.map((kind) => {
    const chip = element("button");
    chip.type = "button";
    chip.dataset.kind = kind;
    setText(chip, `${WORDS[kind] ?? "map not to be trusted"} <${counts[kind]}>`);
    chip.setAttribute("aria-pressed", state.kind === kind);
    return chip;
  });
  const focused = document.activeElement.dataset?.kind;
  byId("kinds").replaceChildren(...chips);
  chips.find((chip) => chip.dataset.kind === focused)?.focus();
}

function showClasses() {
  const table = byId("by-class");
  if (!table) return;
  const groups = new Map();
  data.images.forEach((image, place) => {
    for (const label of image.labels) groups.set(label, [...(groups.get(label) ?? []), place]);
  });
  const lines = [...groups].map(([label, places]) => {
    const named = places.filter((place) => data.images[place].answers[0].first === label).length;
    return { label, places, named: (100 * named) / places.length, found: figures(places) };
  });
  lines.sort((a, b) => (a.found?.accuracy ?? a.named) - (b.found?.accuracy ?? b.named) || a.label - b.label);
  const titles = ["class", "images", "named right", ...(boxed ? ["box accuracy", "mean IoU"] : [])];
  const head = element("tr");
  head.append(...titles.map((title, number) => Object.assign(element("th", number ? "number" : "", title), { scope: "col" })));
  table.replaceChildren(head, ...lines.map(classLine));
}

function classLine({ label, places, named, found }) {
  const line = element("tr");
  const button = element("button", "", data.classes[label]);
  button.type = "button";
  button.dataset.label = label;
  button.dataset.first = "";
  const first = element("td");
  first.append(button);
  const numbers = [places.length, `${named.toFixed(1)} %`];
  if (boxed) numbers.push(found ? `${found.accuracy.toFixed(1)} %` : "–", found ? found.iou.toFixed(3) : "–");
  line.append(first, ...numbers.map((text) => element("td", "number", text)));
  return line;
}

/** Plotly is unpacked when the curves come into view: it is most of the page's script. */
async function loadPlotly() {
  const packed = new Blob([bytes(byId("plotly").textContent)]);
  const text = await new Response(packed.stream().pipeThrough(new DecompressionStream("gzip"))).text();
  const script = element("script");
  script.textContent = text;
  document.head.append(script);
  byId("plotly").remove();
}

function curvePanels() {
  const panels = [];
  const found = data.curves.filter(Boolean);
  if (found.length) {
    const lines = data.runs.flatMap((run, number) => curveLines(data.curves[number], several ? `${run.name}: ` : ""));
    panels.push({ title: "Box accuracy against the threshold (%)", lines, x: "threshold", from0to1: true });
  }
  data.training.forEach((training, number) => {
    for (const panel of training) {
      panels.push({ ...panel, title: several ? `${data.runs[number].name}: ${panel.title}` : panel.title, x: "epoch" });
    }
  });
  return panels;
}

function curveLines(curve, before) {
  if (!curve) return [];
  const x = Array.from({ length: STEPS }, (_, step) => step / STEPS);
  const levels = several ? [String(LEVEL)] : Object.keys(curve.accuracy);
  const lines = levels.map((level) => ({ name: `${before}IoU ≥ ${level}`, x, y: curve.accuracy[level] }));
  if (!several) lines.push({ name: "mean IoU × 100", x, y: curve.iou.map((value) => 100 * value), dash: "dot" });
  return lines;
}

const LINES = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

function drawPanel(panel, target) {
  const css = getComputedStyle(document.documentElement);
  const [ink, line] = ["--ink", "--line"].map((name) => css.getPropertyValue(name).trim());
  const traces = panel.lines.map((each, number) => ({
    x: each.x, y: each.y, name: escaped(each.name), mode: each.x.length > 60 ? "lines" : "lines+markers",
    line: { color: LINES[number % LINES.length], width: 2, dash: each.dash ?? "solid" }, marker: { size: 5 },
    hovertemplate: "%{y:.3~f}",
  }));
  const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, automargin: true };
  const rule = data.runs[0].threshold;
  const mark = { type: "line", x0: rule, x1: rule, yref: "paper", y0: 0, y1: 1, line: { color: ink, dash: "dash", width: 1.5 } };
  const layout = {
    font: { family: "system-ui, sans-serif", size: 13, color: ink },
    paper_bgcolor: "transparent", plot_bgcolor: "transparent", height: 300, margin: { l: 45, r: 12, t: 8, b: 40 },
    hovermode: "x unified", hoverlabel: { bgcolor: css.getPropertyValue("--raised").trim(), font: { color: ink } },
    legend: { orientation: "h", y: -0.25 }, showlegend: panel.lines.length > 1,
    xaxis: { ...axis, title: { text: panel.x, standoff: 6 }, ...(panel.from0to1 ? { range: [0, 1] } : { tickformat: "d" }) },
    yaxis: { ...axis, ...(panel.from0to1 ? { range: [0, 100] } : {}) },
    shapes: panel.from0to1 && rule !== null ? [mark] : [],
  };
  globalThis.Plotly.react(target, traces, layout, { displayModeBar: false, responsive: true });
}

/** Plotly reads some HTML in names. */
function escaped(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

async function drawCurves() {
  const panels = curvePanels();
  if (!panels.length) {
    byId("drawing").textContent = "This run keeps no figures of its training, and the images have no true boxes.";
    return;
  }
  await loadPlotly();
  const targets = panels.map((panel) => {
    const box = element("div", "plot");
    const target = element("div");
    target.setAttribute("role", "img");
    target.setAttribute("aria-label", panel.title);
    box.append(element("h3", "", panel.title), target);
    return { box, target };
  });
  byId("plots").replaceChildren(...targets.map(({ box }) => box));
  const draw = () => panels.forEach((panel, number) => drawPanel(panel, targets[number].target));
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}
