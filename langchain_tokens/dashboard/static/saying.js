// What was said in one call? Asked for when somebody opens it, and shown as text and nothing else.
import { get } from "./api.js";
import { h, replace, unique } from "./dom.js";
import { count, plural } from "./format.js";

const LONG = 1_500;
const MANY_LINES = 24;
const HARDLY = 300;
const LONGEST_NAME = 120;
const MANY_MESSAGES = 100;
/** What ends a text that was longer than what is kept. */
const CUT = /\u2026 \[(?:\d+ characters )?cut\]$/;
/** What a page would not show, or what would turn the text around it: it is named, as in a terminal. */
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069\u{e0000}-\u{e007f}]/gu;

/** Ask for it, and put it into an element; what is wrong is told there. */
export async function show_said(element, call_id, signal) {
  replace(element, h("p", { class: "hint", role: "status" }, "Asking for it\u2026"));
  try {
    const found = await get(`calls/${encodeURIComponent(call_id)}/content`, {}, {}, signal);
    replace(element, whole(found));
  } catch (error) {
    if (error.name === "AbortError") return;
    replace(element, error.status === 404 ? nothing() : h("p", { class: "error", role: "alert" }, error.message));
  }
}

function nothing() {
  return h("p", { class: "hint", role: "status" }, "It is not kept what was said here. ",
    h("code", {}, "TokenUsageHandler(capture_content=True)"), " keeps it of calls from then on.");
}

function whole({ messages, answer, messages_cut: is_cut, answer_cut: is_answer_cut }) {
  const answers = answer ? [answer, ...list(answer.alternatives)] : [];
  return [
    is_cut && cut("The messages were longer than what is kept; what was cut is marked."),
    messages.length > MANY_MESSAGES ? latest_of(messages, is_cut) : messages.map((each) => message(each, is_cut)),
    answers.map((each, place) => part(place ? "another answer" : "answer", each, is_answer_cut, "answer")),
    answers.length === 0 && part("no answer", null, false, "answer"),
    is_answer_cut && cut("The answer was longer than what is kept; what was cut is marked."),
  ].flat().filter(Boolean);
}

/** The last messages, below a button for all that come before. */
function latest_of(messages, is_cut) {
  const made = (some) => some.map((each) => message(each, is_cut));
  const earlier = h("div", { class: "said", tabindex: "-1" });
  const more = h("button", { type: "button", onclick: () => {
    replace(earlier, made(messages.slice(0, -MANY_MESSAGES)));
    earlier.focus({ preventScroll: true }); // the button is gone
  } }, `Show ${plural(messages.length - MANY_MESSAGES, "earlier message")}`);
  replace(earlier, more);
  return [earlier, ...made(messages.slice(-MANY_MESSAGES))];
}

function message(said, is_cut) {
  if (said.role === "cut") return cut(said.text);
  const title = [said.role, said.name].filter(Boolean).map(brief).join(" ");
  return part(said.tool_call_id ? `${title} \u00b7 to ${brief(said.tool_call_id)}` : title, said, is_cut, "message");
}

/** A message or an answer below its heading. */
function part(title, said, is_cut, kind) {
  const id = unique("said");
  const texts = said ? texts_of(said, is_cut) : [];
  return h("section", { class: kind, "aria-labelledby": id }, h("h3", { id }, title), texts,
    said && texts.length === 0 && h("p", { class: "hint" }, "(empty)"));
}

function texts_of(said, is_cut) {
  const tools = list(said.tool_calls).flatMap(({ id, name, arguments: given }) => [
    label(`calls ${brief(name ?? "a tool")}${id ? ` \u00b7 ${brief(id)}` : ""}`), text_of(written(given), is_cut)]);
  const results = list(said.tool_results).flatMap(({ tool_call_id: id, text }) => [
    label(id ? `result of ${brief(id)}` : "result"), text_of(text, is_cut)]);
  const reasoning = said.reasoning ? [label("reasoning"), text_of(said.reasoning, is_cut, "reasoning")] : [];
  return [...reasoning, text_of(said.text, is_cut), ...tools, ...results].flat().filter(Boolean);
}

function written(given) {
  if (given === null || given === undefined) return "";
  return typeof given === "string" ? given : JSON.stringify(given, null, 2);
}

/** A text as it is; a long one begins, and a button shows the rest. What says that it was cut stands below it. */
function text_of(given, is_cut, kind) {
  const text = String(given ?? "");
  const mark = is_cut ? text.match(CUT) : null;
  const kept = mark ? text.slice(0, mark.index) : text;
  return [kept && (beginning(kept) === kept ? block(kept, kind) : long(kept, kind)), mark && cut(mark[0])];
}

function block(text, kind) {
  return h("pre", { id: unique("text"), dir: "auto", class: kind }, plain(text));
}

function long(text, kind) {
  const begin = `${beginning(text)}\u2026`;
  const pre = block(begin, kind);
  const turn = () => {
    const is_open = more.getAttribute("aria-expanded") !== "true";
    more.setAttribute("aria-expanded", String(is_open));
    pre.textContent = plain(is_open ? text : begin);
    more.textContent = is_open ? "Show less" : all;
    if (!is_open) element.scrollIntoView({ block: "nearest" });
  };
  const all = `Show all ${count(Array.from(text).length)} characters`;
  const more = h("button", { type: "button", "aria-expanded": "false", "aria-controls": pre.id, onclick: turn }, all);
  const element = h("div", { class: "long" }, pre, more);
  return element;
}

/** So many characters and lines of a text; all of it, where there is hardly more. */
function beginning(text) {
  const begin = text.slice(0, LONG).split("\n").slice(0, MANY_LINES).join("\n").replace(/[\ud800-\udbff]$/, "");
  return text.length - begin.length > HARDLY ? begin : text;
}

function plain(text) {
  return text.replaceAll("\r\n", "\n").replace(UNSEEN, (each) => {
    const code = each.codePointAt(0).toString(16);
    return code.length > 4 ? `\\u{${code}}` : code.length > 2 ? `\\u${code}` : `\\x${code.padStart(2, "0")}`;
  });
}

function brief(text) {
  const whole_text = String(text);
  return plain(whole_text.length > LONGEST_NAME ? `${whole_text.slice(0, LONGEST_NAME)}\u2026` : whole_text);
}

function label(text) {
  return h("p", { class: "label" }, text);
}

function cut(text) {
  return h("p", { class: "cut" }, plain(String(text)));
}

function list(value) {
  return Array.isArray(value) ? value : [];
}
