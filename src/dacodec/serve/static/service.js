// Calls to the service, with its key where it asks for one, and its problems as errors.

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

// The response, if it is one; a Problem otherwise. Waits and comes back where the service is busy.
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
    const told = await response.json().catch(() => ({}));
    if (response.status === 401) {
      await askForKey();
      continue;
    }
    if (response.status === 429 && tries < 5) {
      const seconds = Number(response.headers.get("Retry-After")) || 1;
      await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
      continue;
    }
    throw new Problem(told.detail || `The server answered ${response.status}.`, told.remedy || "", told.code || "unknown");
  }
}

// An open stream: `send`, `end`, and what comes goes to `onfacts`, `ondata`, `onproblem`, `onend`.
export function stream(direction, query, { onfacts = () => {}, ondata = () => {}, onproblem = () => {}, onend = () => {} }) {
  const url = new URL(`v1/stream/${direction}`, base);
  url.protocol = url.protocol.replace("http", "ws");
  for (const [name, value] of Object.entries(query)) if (value !== undefined && value !== "") url.searchParams.set(name, value);
  const key = sessionStorage.getItem(stored);
  const socket = new WebSocket(url, key ? ["dacodec", `dacodec.key.${key}`] : ["dacodec"]);
  socket.binaryType = "arraybuffer";
  let opened = false;
  let told = false;
  const waiting = [];
  socket.onopen = () => {
    opened = true;
    for (const message of waiting) socket.send(message);
  };
  socket.onmessage = ({ data }) => {
    if (data instanceof ArrayBuffer) return ondata(data);
    const facts = JSON.parse(data);
    if (facts.code) {
      told = true;
      onproblem(new Problem(facts.detail, facts.remedy, facts.code));
    } else onfacts(facts);
  };
  socket.onclose = ({ code }) => {
    if (!told && code !== 1000) {
      onproblem(opened
        ? new Problem("The stream broke off.", "Start it again.", "broken_off")
        : new Problem("The server took no stream.", "It may be full, or want a key: open the recording tab once.", "refused"));
    }
    onend();
  };
  const send = (message) => {
    if (socket.readyState === WebSocket.OPEN) socket.send(message);
    else if (socket.readyState === WebSocket.CONNECTING) waiting.push(message);
  };
  return { send, end: () => send(JSON.stringify({ end: true })), close: () => { told = true; socket.close(); } };
}
