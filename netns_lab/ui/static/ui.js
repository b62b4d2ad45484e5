// The page: what the server says, drawn; what is clicked, asked. No state of its own but what is chosen.

const byId = (id) => document.getElementById(id);
const picture = byId("picture");

let view = null;
let chosen = "";
let rates = {};
let packets = null;
let captured = "";

function setState(word, text) {
  byId("state").className = `state ${word}`;
  byId("state").textContent = text;
}

function show(next) {
  view = next;
  byId("lab").textContent = `netns-lab ${view.lab}`;
  document.title = `netns-lab ${view.lab}`;
  setState(view.state, view.state);
  const missing = byId("missing");
  const trouble = [...view.faults.map((text) => `fault ${text}`), ...view.missing.map((text) => `missing: ${text}`)];
  missing.hidden = trouble.length === 0;
  missing.replaceChildren(...trouble.map((text) => element("li", text)));
  // Parsed as XML, so that nothing in it runs; the server has written it.
  const svg = new DOMParser().parseFromString(view.svg, "image/svg+xml").documentElement;
  picture.replaceChildren(document.importNode(svg, true));
  for (const name of view.sick) {
    for (const part of all("place", name).concat(all("pod", name))) part.classList.add("sick");
  }
  const places = [...Object.keys(view.pods), ...everyPlace()];
  const source = byId("source");
  const kept = source.value;
  source.replaceChildren(...places.map((name) => element("option", name)));
  if (places.includes(kept)) source.value = kept;
  mark();
  showRates();
}

function everyPlace() {
  return [...picture.querySelectorAll("[data-place]")].map((part) => part.dataset.place);
}

function all(kind, value) {
  return [...picture.querySelectorAll(`[data-${kind}]`)].filter((part) => part.dataset[kind] === value);
}

function showRates() {
  for (const part of picture.querySelectorAll("[data-rate]")) part.textContent = rates[part.dataset.rate] ?? "";
}

function mark() {
  for (const part of picture.querySelectorAll(".chosen, .captured")) part.classList.remove("chosen", "captured");
  for (const part of all("pod", chosen)) part.classList.add("chosen");
  for (const part of all("link", captured)) part.classList.add("captured");
}

function element(kind, text) {
  const made = document.createElement(kind);
  made.textContent = text;
  return made;
}

async function ask(path, body) {
  const answer = await fetch(path, { method: "POST", body: JSON.stringify(body) });
  const found = answer.headers.get("content-type")?.startsWith("application/json") ? await answer.json() : {};
  if (!answer.ok) throw new Error(found.error ?? `${answer.status} ${answer.statusText}`);
  return found;
}

async function trace(source, target) {
  byId("source").value = source;
  byId("target").value = target;
  const section = byId("trace");
  section.hidden = false;
  section.setAttribute("aria-busy", "true");
  byId("trace-title").textContent = `${source} to ${target}`;
  sayVerdict("", "on its way …");
  byId("steps").replaceChildren();
  try {
    const report = await ask("api/trace", { source, target });
    sayVerdict(report.verdict, report.reason);
    byId("steps").replaceChildren(...report.steps.map(row));
  } catch (error) {
    sayVerdict("failed", error.message);
  }
  section.setAttribute("aria-busy", "false");
}

function sayVerdict(word, text) {
  byId("verdict").className = word;
  byId("verdict").textContent = word;
  byId("reason").textContent = text;
}

function row(step) {
  const cells = [step.ms === null ? "" : step.ms.toFixed(3), step.where, step.step, step.packet, step.why];
  const made = document.createElement("tr");
  made.append(...cells.map((text) => element("td", text)));
  return made;
}

function stop() {
  packets?.close();
  packets = null;
}

async function capture(name) {
  stop();
  captured = name;
  mark();
  const at = name.lastIndexOf(" ");
  const place = name.slice(0, at), link = name.slice(at + 1);
  byId("capture").hidden = false;
  byId("capture-title").textContent = `${link} of ${place}`;
  const lines = byId("packets");
  lines.replaceChildren();
  const add = (text) => {
    const isAtEnd = lines.scrollTop + lines.clientHeight >= lines.scrollHeight - 4;
    lines.append(`${text}\n`);
    if (isAtEnd) lines.scrollTop = lines.scrollHeight;
  };
  try {
    const { id } = await ask("api/captures", { place, link });
    packets = new EventSource(`api/captures/${id}`);
    packets.addEventListener("packet", (event) => add(JSON.parse(event.data)));
    packets.addEventListener("end", (event) => { add(JSON.parse(event.data)); stop(); });
    // A capture is opened once: there is nothing to come back to.
    packets.onerror = stop;
  } catch (error) {
    add(error.message);
  }
}

picture.addEventListener("click", (event) => {
  const part = event.target.closest("[data-rate], [data-link], [data-pod], [data-service]");
  if (!part) return;
  const { rate, link, pod, service } = part.dataset;
  if (rate ?? link) {
    capture(rate ?? link);
    return;
  }
  if (service !== undefined) {
    byId("target").value = view.services[service].target;
    if (chosen) trace(chosen, view.services[service].target);
    return;
  }
  if (!chosen || chosen === pod || !view.pods[pod]) {
    chosen = chosen === pod ? "" : pod;
    if (chosen) byId("source").value = chosen;
  } else {
    trace(chosen, view.pods[pod]);
    chosen = "";
  }
  mark();
});

byId("trace-form").addEventListener("submit", (event) => {
  event.preventDefault();
  trace(byId("source").value, byId("target").value);
});
byId("stop").addEventListener("click", () => { stop(); captured = ""; mark(); });

const events = new EventSource("api/events");
events.addEventListener("view", (event) => show(JSON.parse(event.data)));
events.addEventListener("rates", (event) => { rates = JSON.parse(event.data); showRates(); });
events.addEventListener("trouble", (event) => setState("lost", JSON.parse(event.data).message));
events.onerror = () => setState("lost", "netns-lab ui has ended");
