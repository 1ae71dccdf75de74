// What is on the screen, and why? The address says all of it: page, range, filters; so Back works and links can be shared.
import { FILTERS, get, listen, change } from "./api.js";
import { redraw } from "./charts.js";
import { h, replace, setText } from "./dom.js";
import { day, is_zone, local_day, moment, name, own_zone, set_zone, zone_name } from "./format.js";
import { show_call } from "./details.js";

const RANGES = { current: "Current", "7d": "7 days", "30d": "30 days", all: "All", custom: "Custom\u2026" };
const PAGES = {
  overview: "Overview", explore: "Explore", models: "Models", cost: "Cost", runs: "Runs", budgets: "Budgets",
  findings: "Findings", data: "Data",
};
const OWN = ["by", "metric", "order", "call", "kind", "every", "tree", "id"];
const DEFAULTS = { view: "overview", range: "7d" };
const LEAST_GAP = 250;
const FULL_REFRESH = 60_000;
const MOST_WAIT = 300;

const parts = Object.fromEntries(
  ["pages", "ranges", "chips", "custom", "zone", "main", "live", "theme", "logout", "database", "said", "dialog", "add-filter"]
    .map((id) => [id, document.getElementById(id)]));

let state = read_address();
let status = null;
let view = null;
let is_loading = null;
let is_stale = false;
let last_refresh = 0;
let timer = 0;

// The address

function read_address() {
  const asked = new URLSearchParams(location.search);
  const filters = Object.fromEntries(
    FILTERS.map((key) => [key, asked.getAll(key)]).filter(([, values]) => values.length > 0));
  const own = Object.fromEntries(OWN.filter((key) => asked.has(key)).map((key) => [key, asked.get(key)]));
  const range = asked.get("range");
  return {
    ...DEFAULTS,
    ...own,
    view: Object.hasOwn(PAGES, asked.get("view")) ? asked.get("view") : DEFAULTS.view,
    range: Object.hasOwn(RANGES, range) ? range : DEFAULTS.range,
    from: date_or_nothing(asked.get("from")),
    to: date_or_nothing(asked.get("to")),
    tz: asked.get("tz") !== "UTC" && is_zone(asked.get("tz")) ? asked.get("tz") : undefined,
    filters,
  };
}

function date_or_nothing(text) {
  return /^\d{4}-\d\d-\d\d$/.test(text || "") && !Number.isNaN(Date.parse(text)) ? text : undefined;
}

function write_address(next) {
  const asked = new URLSearchParams();
  const { filters, ...rest } = next;
  for (const [key, value] of Object.entries(rest)) {
    if (value !== undefined && value !== null && value !== DEFAULTS[key]) asked.set(key, value);
  }
  for (const [key, values] of Object.entries(filters)) values.forEach((value) => asked.append(key, value));
  const text = asked.toString();
  return text ? `?${text}` : location.pathname;
}

/** Go somewhere: what is named changes, all else stays. `filters` are merged; null takes one away. */
export function go(changes, { replaces = false } = {}) {
  const filters = { ...state.filters, ...changes.filters };
  for (const key of Object.keys(filters)) if (!filters[key] || filters[key].length === 0) delete filters[key];
  const next = { ...state, ...changes, filters };
  const is_other_page = next.view !== state.view;
  if (is_other_page) for (const key of OWN) if (!(key in changes)) delete next[key];
  state = next;
  history[replaces ? "replaceState" : "pushState"]({ is_own: !replaces || Boolean(history.state?.is_own) }, "", write_address(state));
  render(is_other_page);
}

/** Take the call that is open out of the address: one step back, where it was one step to it. */
function leave_call() {
  if (!state.call) return;
  if (history.state?.is_own) history.back();
  else go({ call: undefined }, { replaces: true });
}

export function link(changes) {
  const filters = { ...state.filters, ...changes.filters };
  const next = { ...state, ...changes, filters };
  if (next.view !== state.view) for (const key of OWN) if (!(key in changes)) delete next[key];
  return write_address(next);
}

/** The filters of a request: the names, and the range as moments. */
export function asked() {
  return { ...range(), tz: state.tz, ...state.filters };
}

function range() {
  if (state.range === "all") return {};
  if (state.range === "current") return { since: status.current_since };
  if (state.range !== "custom") return { since: state.range };
  const found = {};
  if (state.from) found.since = state.from;
  if (state.to) found.until = day(Date.parse(state.to) + 86_400_000);
  return found;
}

// The frame

function draw_frame() {
  replace(parts.pages, Object.entries(PAGES).map(([key, text]) =>
    h("a", { href: link({ view: key }), "data-view": key, onclick: (event) => follow(event, { view: key }) }, text)));
  replace(parts.ranges, Object.entries(RANGES).map(([key, text]) =>
    h("button", { type: "button", value: key, onclick: () => pick_range(key) }, text)));
  parts.custom.addEventListener("submit", (event) => {
    event.preventDefault();
    show_custom();
  });
  parts.zone.addEventListener("change", () => go({ tz: parts.zone.value === "UTC" ? undefined : parts.zone.value }));
  parts.theme.addEventListener("click", switch_theme);
  parts.logout.addEventListener("click", log_out);
  parts["add-filter"].addEventListener("click", add_filter);
  addEventListener("popstate", () => {
    const before = state.view;
    state = read_address();
    render(before !== state.view);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
}

/** A link that is followed here, unless it is to be opened elsewhere. */
export function follow(event, changes) {
  if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
  event.preventDefault();
  go(changes);
}

function pick_range(key) {
  if (key !== "custom") return go({ range: key, from: undefined, to: undefined });
  const today = local_day(Date.now());
  return go({ range: "custom", from: state.from || local_day(Date.now() - 6 * 86_400_000), to: state.to || today });
}

function show_custom() {
  const { from, to } = Object.fromEntries(new FormData(parts.custom));
  parts.custom.elements.to.setCustomValidity(to < from ? "The range ends before it begins." : "");
  if (parts.custom.reportValidity()) go({ range: "custom", from, to });
  parts.custom.elements.to.setCustomValidity("");
}

function update_frame() {
  for (const each of parts.pages.children) {
    const is_here = each.dataset.view === state.view;
    each.setAttribute("href", link({ view: each.dataset.view }));
    if (is_here) each.setAttribute("aria-current", "page");
    else each.removeAttribute("aria-current");
  }
  for (const each of parts.ranges.children) each.setAttribute("aria-pressed", String(each.value === state.range));
  const current = parts.ranges.querySelector("[value=current]");
  current.title = status ? `Since ${moment(status.current_since).slice(0, 16)} ${zone_name()}: the start of the newest session, or a day ago` : "";
  parts.custom.hidden = state.range !== "custom";
  if (state.range === "custom") {
    parts.custom.elements.from.value = state.from || "";
    parts.custom.elements.to.value = state.to || "";
  }
  const zones = [...new Set(["UTC", own_zone(), zone_name()])];
  replace(parts.zone, zones.map((each) => h("option", { value: each }, each)));
  parts.zone.value = zone_name();
  replace(parts.chips, Object.entries(state.filters).flatMap(([key, values]) => values.map((value) => chip(key, value))));
  document.title = `${PAGES[state.view]} \u00b7 Token usage`;
}

function chip(key, value) {
  const text = `${key}: ${value}`;
  const rest = () => state.filters[key].filter((each) => each !== value);
  const remove = () => {
    go({ filters: { [key]: rest() } });
    parts["add-filter"].focus();
  };
  return h("li", {}, h("button", { type: "button", "aria-label": `Remove filter ${text}`, title: text, onclick: remove },
    h("span", { class: "name" }, text), h("span", { "aria-hidden": "true" }, "\u00d7")));
}

async function add_filter() {
  const { show_filter } = await import("./details.js");
  show_filter(parts.dialog, asked(), (key, value) =>
    go({ filters: { [key]: [...new Set([...(state.filters[key] || []), value])] } }));
}

/** Narrow to one name, and go where it can be looked at. */
export function drill(dimension, value, more = {}) {
  const text = name(value, dimension);
  go({ filters: filter_of(dimension, value, text), ...more });
}

function filter_of(dimension, value, text) {
  if (!dimension.startsWith("tag:")) return { [dimension]: [text] };
  const key = dimension.slice(4);
  const quoted = key.includes("=") || key.startsWith('"') ? JSON.stringify(key) : key;
  const others = (state.filters.tag || []).filter((each) => !each.startsWith(`${quoted}=`));
  return { tag: [...others, `${quoted}=${text}`] };
}

function switch_theme() {
  const root = document.documentElement;
  const is_dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  set_theme(is_dark ? "light" : "dark");
  redraw();
}

function set_theme(theme) {
  document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem("langchain_tokens.theme", theme);
  } catch { /* a browser that keeps nothing forgets it with the page */ }
}

function keep_theme() {
  try {
    const theme = localStorage.getItem("langchain_tokens.theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch { /* as above */ }
}

async function log_out() {
  await change("POST", "logout");
  location.assign("login");
}

export function say(text) {
  setText(parts.said, text);
}

// The page

async function render(is_other_page) {
  const is_other_zone = zone_name() !== (state.tz || "UTC");
  set_zone(state.tz);
  update_frame();
  if (is_other_page || is_other_zone || !view || view.key !== state.view) {
    if (view) view.close();
    view = null;
    parts.main.setAttribute("aria-busy", "true");
    const wanted = state.view;
    const made = await import(`./views/${wanted}.js`);
    if (state.view !== wanted) return;
    view = made.make({ go, drill, link, follow, asked, say, state: () => state, status: () => status, refresh });
    view.key = wanted;
    replace(parts.main, view.element);
  }
  await refresh();
  show_call(parts.dialog, state.call, { leave_call, link, follow });
}

/** Ask for all numbers on the page again, and put them where they are. */
export async function refresh() {
  if (is_loading) is_loading.abort();
  const mine = new AbortController();
  is_loading = mine;
  is_stale = false;
  last_refresh = performance.now();
  try {
    if (!status || view.needs_status || state.range === "current") status = await get("status", {}, {}, mine.signal);
    update_status();
    await view.load(asked(), mine.signal);
    clear_error();
  } catch (error) {
    if (error.name === "AbortError") return;
    show_error(error);
  } finally {
    if (is_loading === mine) {
      is_loading = null;
      parts.main.setAttribute("aria-busy", "false");
      if (is_stale) soon();
    }
  }
}

function update_status() {
  setText(parts.database, `${status.database} \u00b7 langchain_tokens ${status.version}${status.is_read_only ? " \u00b7 read only" : ""}`);
  parts.logout.hidden = !status.needs_token;
}

function clear_error() {
  document.getElementById("problem")?.remove();
}

function show_error(error) {
  clear_error();
  const again = h("button", { type: "button", onclick: () => refresh() }, "Try again");
  const widen = error.status === 422 && Object.keys(state.filters).length
    ? h("button", { type: "button", onclick: () => go({ filters: Object.fromEntries(FILTERS.map((key) => [key, null])) }) }, "Remove all filters")
    : null;
  parts.main.prepend(h("div", { id: "problem", class: "error", role: "alert" },
    h("strong", {}, error.title || "Something went wrong"), " ", error.message, " ", again, " ", widen));
  for (const each of parts.main.querySelectorAll(":scope > .loading")) each.remove();
}

// Live

function soon() {
  const gap = Math.max(LEAST_GAP - (performance.now() - last_refresh), 0);
  clearTimeout(timer);
  timer = setTimeout(() => view && refresh(), gap);
}

function hear(what) {
  parts.live.dataset.state = what === "lost" ? "lost" : "live";
  setText(parts.live, what === "lost" ? "reconnecting" : "live");
  if (what === "lost" || !view) return;
  is_stale = true;
  if (!is_loading && !document.hidden) soon();
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && is_stale && !is_loading) soon();
});

keep_theme();
draw_frame();
// Changes are seen from here on; so what is asked next is not asked again at once.
await Promise.race([
  new Promise((resolve) => listen((what) => resolve(hear(what)))),
  new Promise((resolve) => setTimeout(resolve, MOST_WAIT)),
]);
await render(true);
setInterval(() => {
  if (!document.hidden && !is_loading) refresh();
}, FULL_REFRESH);
