// What is on the screen, and why? The address says all of it: page, range, filters; so Back works and links can be shared.
import { OWN, PAGES, RANGES, read_address, write_address } from "./address.js";
import { FILTERS, change, get, listen } from "./api.js";
import { redraw } from "./charts.js";
import { h, replace, setText } from "./dom.js";
import { day, local_day, moment, name, now, own_zone, set_clock, set_zone, zone_name } from "./format.js";
import { show_call } from "./details.js";
import { Refreshing } from "./refreshing.js";
import { span_begin } from "./series.js";

const STATUS_HOLDS = 60_000;
const MOST_WAIT = 300;
const LAST_DAY = "9999-12-31";
const PASSING = [0, 502, 503, 504];

const parts = Object.fromEntries(
  ["pages", "ranges", "chips", "custom", "zone", "main", "live", "theme", "logout", "database", "said", "dialog", "add-filter"]
    .map((id) => [id, document.getElementById(id)]));

let state = read_address();
let status = null;
let status_until = 0;
let view = null;
let is_missing = false;
let answered = "";
let is_lost = false;

// Ways

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
  if (state.to && state.to < LAST_DAY) found.until = day(Date.parse(state.to) + 86_400_000);
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
  return go({ range: "custom", from: state.from || local_day(now() - 6 * 86_400_000), to: state.to || local_day(now()) });
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
  for (const each of parts.ranges.children) {
    const begin = span_begin({ since: each.value });
    if (begin !== null) each.title = `Since ${moment(new Date(begin).toISOString()).slice(0, 16)} ${zone_name()}, when that hour began`;
  }
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
    if (!(await open_view(state.view))) return;
  }
  await refreshing.now();
  show_call(parts.dialog, state.call, { leave_call, link, follow, is_asked: (id) => state.call === id });
}

/** Put a page in the place of the one before; whether it is there, and still the one that is wanted. */
async function open_view(wanted) {
  refreshing.stop();
  if (view) view.close();
  view = null;
  answered = "";
  parts.main.setAttribute("aria-busy", "true");
  let made;
  try {
    made = await import(`./views/${wanted}.js`);
  } catch (error) {
    if (state.view === wanted) tell_missing(error);
    return false;
  }
  if (state.view !== wanted) return false;
  is_missing = false;
  view = made.make({ go, drill, link, follow, asked, say, state: () => state, status: () => status, refresh });
  view.key = wanted;
  replace(parts.main, view.element);
  if (status && document.activeElement === document.body) parts.main.focus({ preventScroll: true }); // what was clicked is gone
  return true;
}

/** A part of the page did not come. Browsers may remember that, so the page is loaded anew once the server is there. */
function tell_missing(error) {
  console.warn(error);
  is_missing = true;
  replace(parts.main);
  parts.main.setAttribute("aria-busy", "false");
  show_missing("the server may have been stopped");
}

function show_missing(why) {
  const text = `The page \u201c${PAGES[state.view]}\u201d could not be loaded: ${why}. It comes by itself once the server is back.`;
  show_problem("No answer", text, h("button", { type: "button", onclick: load_anew }, "Try again"));
}

async function load_anew() {
  const is_there = await fetch("healthz").then((answer) => answer.ok, () => false);
  if (is_there) location.reload();
  else show_missing("the server still does not answer");
}

/** Ask for all numbers on the page again, and put them where they are. */
export function refresh() {
  return refreshing.now();
}

async function ask(signal) {
  const question = JSON.stringify({ ...state, call: undefined });
  try {
    await ask_status(signal);
    await view.load(asked(), signal);
    answered = question;
    view.element.hidden = false;
    clear_error();
    return true;
  } catch (error) {
    if (signal.aborted) return true;
    view.element.hidden = answered !== question; // numbers that answer another question
    show_error(error);
    return !PASSING.includes(error.status);
  } finally {
    if (!signal.aborted) parts.main.setAttribute("aria-busy", "false");
  }
}

async function ask_status(signal) {
  const is_known = status && status.calls > 0 && performance.now() < status_until;
  if (!is_known || view.needs_status || state.range === "current") {
    const found = await get("status", {}, {}, signal);
    if (status && found.version !== status.version) location.reload(); // this page's own files are of the version before
    status = found;
    status_until = performance.now() + STATUS_HOLDS;
    set_clock(status.now);
  }
  setText(parts.database, `${status.database} \u00b7 langchain_tokens ${status.version}${status.is_read_only ? " \u00b7 read only" : ""}`);
  parts.logout.hidden = !status.needs_token;
}

function clear_error() {
  document.getElementById("problem")?.remove();
}

function show_error(error) {
  const again = h("button", { type: "button", onclick: () => refresh() }, "Try again");
  const widen = error.status === 422 && Object.keys(state.filters).length
    ? h("button", { type: "button", onclick: () => go({ filters: Object.fromEntries(FILTERS.map((key) => [key, null])) }) }, "Remove all filters")
    : null;
  const in_utc = error.status === 422 && state.tz ? h("button", { type: "button", onclick: () => go({ tz: undefined }) }, "Show times in UTC") : null;
  show_problem(error.title || "Something went wrong", error.message, again, widen, in_utc);
}

/** What is wrong; said once, however often it is found again. */
function show_problem(title, text, ...actions) {
  const problem = document.getElementById("problem");
  if (problem?.dataset.text === text) return;
  clear_error();
  parts.main.prepend(h("div", { id: "problem", class: "error", role: "alert", "data-text": text },
    h("strong", {}, title), " ", text, " ", ...actions.filter(Boolean).flatMap((action) => [action, " "])));
  for (const each of parts.main.querySelectorAll(":scope > .loading")) each.remove();
}

// Live

function hear(what) {
  const is_back = is_lost && what !== "lost";
  is_lost = what === "lost";
  parts.live.dataset.state = is_lost ? "lost" : "live";
  setText(parts.live, is_lost ? "reconnecting" : "live");
  if (is_back && is_missing) return load_anew();
  if (is_back) status_until = 0; // it may be another server, with another database
  if (!is_lost && view) refreshing.mark();
}

const refreshing = new Refreshing(ask);
// What a click asked for and did not get.
addEventListener("unhandledrejection", (event) => {
  event.preventDefault();
  if (event.reason?.name === "AbortError") return;
  console.warn(event.reason);
  show_error(event.reason);
});
keep_theme();
draw_frame();
// Changes are seen from here on; so what is asked next is not asked again at once.
await Promise.race([
  new Promise((resolve) => listen((what) => resolve(hear(what)))),
  new Promise((resolve) => setTimeout(resolve, MOST_WAIT)),
]);
await render(true);
