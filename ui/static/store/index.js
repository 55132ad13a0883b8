// The page's values, as the server last sent them. Components read `state`; Vue re-renders only what a key changed.
import { reactive } from "vue";

export const state = reactive({});
export const chart = { points: [], listeners: new Set() };

export function apply(values, point) {
  Object.assign(state, values);
  if (point) append([point]);
}

export function append(points) {
  chart.points.push(...points);
  const oldest = Date.now() - 10 * 60 * 1000;
  while (chart.points.length && chart.points[0][0] < oldest) chart.points.shift();
  chart.listeners.forEach((listener) => listener());
}

// To the clipboard; browsers that keep it closed select a field instead.
export async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = document.body.appendChild(Object.assign(document.createElement("textarea"), { value: text }));
  field.select();
  document.execCommand("copy");
  field.remove();
}

export const motion = window.matchMedia("(prefers-reduced-motion: no-preference)");

// Theme: the system's unless the person chose one on this device.
export function toggleTheme() {
  const dark = document.documentElement.dataset.theme !== "dark";
  localStorage.setItem("ems-theme", dark ? "dark" : "light");
  showTheme();
}

export function showTheme() {
  const chosen = localStorage.getItem("ems-theme");
  const dark = chosen ? chosen === "dark" : window.matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  window.dispatchEvent(new Event("ems-theme"));
}

window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showTheme);
