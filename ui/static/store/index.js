// The page's values, as the server last sent them. Components read `state`; Vue re-renders only what a key changed.
import { reactive } from "vue";

export const state = reactive({ toast: null });

// A deed: what a person does. Its event goes to the server with a number, its answer comes back with the same.
const waiting = new Map();
let deeds = 0;

// Emits `event` of a component and waits for the answer: true when it was done, false when it was refused. The answer is told.
export function act(component, event, detail = {}) {
  deeds += 1;
  component.$emit(event, { ...detail, deed: deeds });
  return new Promise((done) => waiting.set(deeds, done));
}

export function answer(deed, ok, text) {
  if (text) tell(ok, text);
  waiting.get(deed)?.(ok);
  waiting.delete(deed);
}

let fading;
export function tell(ok, text) {
  state.toast = { ok, text };
  clearTimeout(fading);
  fading = setTimeout(() => (state.toast = null), ok ? 4000 : 9000);
}

// To the clipboard; browsers that keep it closed select a field instead.
export async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = document.body.appendChild(Object.assign(document.createElement("textarea"), { value: text }));
  field.select();
  document.execCommand("copy");
  field.remove();
}

export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();

// Theme: the system's unless the person chose one on this device.
const system = window.matchMedia("(prefers-color-scheme: dark)");
export const theme = reactive({ chosen: localStorage.getItem("ems-theme") ?? "" });

export function chooseTheme(chosen) {
  theme.chosen = chosen;
  if (chosen) localStorage.setItem("ems-theme", chosen);
  else localStorage.removeItem("ems-theme");
  showTheme();
}

function showTheme() {
  const dark = theme.chosen ? theme.chosen === "dark" : system.matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  window.dispatchEvent(new Event("ems-theme"));
}

system.addEventListener("change", showTheme);

// How long ago, in one unit. seconds: s
export function age(seconds) {
  for (const [size, name] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= size) return Math.floor(seconds / size) + " " + name;
  }
  return Math.max(0, Math.floor(seconds)) + " s";
}

// One clock for everything that shows an age; it ticks once a second, and only where somebody looks.
export const clock = reactive({ now: Date.now() / 1000 });
setInterval(() => document.hidden || (clock.now = Date.now() / 1000), 1000);

// Keys of the page itself, for the help: ["+ −", "Zoom in and out"], …
export const shortcuts = reactive([]);

// History of several channels: { step: s, series: { node: { t: ms[], v: (number|null)[], q: 0|1|2[] } } }. Throws with words.
export async function readHistory(nodes, from, to, points, how = "auto", signal = undefined) {
  const query = new URLSearchParams([...nodes.map((n) => ["node", n]), ["from", Math.round(from)], ["to", Math.round(to)], ["points", Math.round(points)], ["how", how]]);
  const reply = await fetch("/history?" + query, { signal });
  const found = await reply.json();
  if (!reply.ok) throw new Error(found.error ?? "The history could not be read.");
  return found;
}
