// Requests to the service: with the API key if it needs one, and error responses as exceptions.

const base = new URL(".", document.baseURI);
const stored = "dacodec-key";

export class Problem extends Error {
  constructor(detail, remedy, code) {
    super(detail);
    this.remedy = remedy;
    this.code = code;
  }
}

function headers() {
  const key = sessionStorage.getItem(stored);
  return key ? { Authorization: `Bearer ${key}` } : {};
}

function askForKey() {
  const dialog = document.getElementById("key-dialog");
  const field = document.getElementById("key");
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      sessionStorage.setItem(stored, field.value);
      field.value = "";
      resolve();
    }, { once: true });
    if (!dialog.open) dialog.showModal();
  });
}

// The response, or a Problem if it is an error. Retries while the service is busy.
export async function call(path, query = {}, body = undefined, signal = undefined) {
  const url = new URL(path, base);
  for (const [name, value] of Object.entries(query)) if (value !== undefined) url.searchParams.set(name, value);
  for (let tries = 0; ; tries++) {
    let response;
    try {
      response = await fetch(url, { method: body === undefined ? "GET" : "POST", body, headers: headers(), signal });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem("The server cannot be reached.", "Is it running? Try again in a moment.", "unreachable");
    }
    if (response.ok) return response;
    const problem = await response.json().catch(() => ({}));
    if (response.status === 401) {
      await askForKey();
      continue;
    }
    if (response.status === 429 && tries < 5) {
      const seconds = Number(response.headers.get("Retry-After")) || 1;
      await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
      continue;
    }
    throw new Problem(problem.detail || `The server responded with status ${response.status}.`, problem.remedy || "", problem.code || "unknown");
  }
}

// An open stream. What it receives goes to `onfacts`, `ondata`, `onproblem` and `onend`.
export function stream(direction, query, { onfacts = () => {}, ondata = () => {}, onproblem = () => {}, onend = () => {} }) {
  const url = new URL(`v1/stream/${direction}`, base);
  url.protocol = url.protocol.replace("http", "ws");
  for (const [name, value] of Object.entries(query)) if (value !== undefined && value !== "") url.searchParams.set(name, value);
  const key = sessionStorage.getItem(stored);
  const socket = new WebSocket(url, key ? ["dacodec", `dacodec.key.${key}`] : ["dacodec"]);
  socket.binaryType = "arraybuffer";
  let opened = false;
  let settled = false; // an error was reported, or the page closed the stream
  const waiting = [];
  socket.onopen = () => {
    opened = true;
    for (const message of waiting) socket.send(message);
  };
  socket.onmessage = ({ data }) => {
    if (data instanceof ArrayBuffer) return ondata(data);
    const facts = JSON.parse(data);
    if (facts.code) {
      settled = true;
      onproblem(new Problem(facts.detail, facts.remedy, facts.code));
    } else onfacts(facts);
  };
  socket.onclose = ({ code }) => {
    if (!settled && code !== 1000) {
      onproblem(opened
        ? new Problem("The connection to the server broke.", "Start again.", "broken_off")
        : new Problem("The server refused the stream.", "It may be busy, or the API key may be wrong: reload the page and try again.", "refused"));
    }
    onend();
  };
  const send = (message) => {
    if (socket.readyState === WebSocket.OPEN) socket.send(message);
    else if (socket.readyState === WebSocket.CONNECTING) waiting.push(message);
  };
  return { send, end: () => send(JSON.stringify({ end: true })), close: () => { settled = true; socket.close(); } };
}
