// How are the numbers asked for? By relative addresses, so that the page works wherever it is mounted.

/** An answer that is a problem (RFC 9457), or none at all. */
export class Problem extends Error {
  constructor(status, title, detail) {
    super(detail);
    this.status = status;
    this.title = title;
  }
}

const INTENT = { "X-Requested-With": "langchain_tokens" };
const NAMES = ["session", "run", "mode", "agent", "chain", "model", "provider", "user", "status"];
export const FILTERS = [...NAMES, "tag"];

/** The query of a request: the filters of the state, and what the request adds. */
export function query(filters, more = {}) {
  const asked = new URLSearchParams();
  for (const [name, value] of Object.entries({ ...filters, ...more })) {
    for (const each of Array.isArray(value) ? value : [value]) {
      if (each !== undefined && each !== null) asked.append(name, String(each));
    }
  }
  return asked;
}

export function address(path, filters, more) {
  const asked = query(filters, more).toString();
  return `api/v1/${path}${asked ? `?${asked}` : ""}`;
}

/** Ask for JSON. */
export async function get(path, filters, more, signal) {
  return read(await send(address(path, filters, more), { signal }));
}

/** Ask for a change. */
export async function change(method, path, filters, more, body) {
  const headers = body === undefined ? INTENT : { ...INTENT, "Content-Type": "application/json" };
  return read(await send(address(path, filters, more), { method, headers, body: body && JSON.stringify(body) }));
}

async function send(url, options) {
  try {
    return await fetch(url, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "No answer", "The server does not answer. It may have been stopped.");
  }
}

async function read(response) {
  if (response.status === 401 && !location.pathname.endsWith("/login")) location.assign("login");
  if (response.status === 204) return null;
  const kind = response.headers.get("content-type") || "";
  if (!kind.includes("json")) throw new Problem(response.status, "Error", `The server said ${response.status}.`);
  const document = await response.json();
  if (!response.ok) throw new Problem(response.status, document.title || "Error", document.detail || "");
  return document;
}

/** Listen for changes for as long as the page is open; `tell` hears `ready`, `changed` and `lost`. */
export function listen(tell) {
  let wait = 250;
  const open = () => {
    const url = new URL("api/v1/live", document.baseURI);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(url);
    socket.onmessage = (event) => {
      wait = 250;
      tell(JSON.parse(event.data).type);
    };
    socket.onclose = () => {
      tell("lost");
      setTimeout(open, wait);
      wait = Math.min(wait * 2, 5000);
    };
  };
  open();
}
