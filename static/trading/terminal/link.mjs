// The private socket: hints on top of what REST says. It reconnects by itself and never gives up.

const PING_MS = 10_000;
const SILENCE_MS = 25_000;
const SIGNED_OUT = 4401;
const BACKOFF_MS = [300, 600, 1200, 2500, 5000, 10_000];

/** The address of the socket; a loopback name follows the page's own, so that its cookie goes along. */
export function socketUrl(configured, location) {
  const url = new URL(configured || "/ws/v1/", location.href);
  if (!configured) url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  const loopback = ["127.0.0.1", "localhost", "[::1]"];
  if (loopback.includes(url.hostname) && loopback.includes(location.hostname))
    url.hostname = location.hostname;
  return url.href;
}

/** One socket with the channels wanted; reports states "live", "lost", "signed_out" and every message. */
export class Link {
  #url;
  #socket = null;
  #channels = new Set();
  #attempt = 0;
  #timer = null;
  #heardAt = 0;
  #pingAt = 0;

  constructor(url, { onState, onMessage, onLatency }) {
    this.#url = url;
    Object.assign(this, { onState, onMessage, onLatency });
    this.isLive = false;
    setInterval(() => this.#beat(), PING_MS);
    addEventListener("online", () => this.wake());
  }

  open() {
    clearTimeout(this.#timer);
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    this.#heardAt = Date.now();
    socket.onopen = () => {
      if (socket !== this.#socket) return;
      this.#ping();
      if (this.#channels.size) this.#send({ op: "subscribe", channels: [...this.#channels] });
      this.isLive = true;
      this.onState("live");
    };
    socket.onmessage = ({ data }) => socket === this.#socket && this.#take(data);
    socket.onclose = ({ code }) =>
      socket === this.#socket && (code === SIGNED_OUT ? this.#end() : this.#lose());
  }

  /** Change the wanted channels; what is new is subscribed, what is gone unsubscribed. */
  want(channels) {
    const next = new Set(channels);
    const added = [...next].filter((channel) => !this.#channels.has(channel));
    const gone = [...this.#channels].filter((channel) => !next.has(channel));
    this.#channels = next;
    if (gone.length) this.#send({ op: "unsubscribe", channels: gone });
    if (added.length) this.#send({ op: "subscribe", channels: added });
  }

  /** Make sure after sleep or a change of network: a socket that may be dead is replaced at once. */
  wake() {
    if (this.#socket?.readyState === WebSocket.OPEN && Date.now() - this.#heardAt < SILENCE_MS) {
      this.#ping();
      return;
    }
    this.#attempt = 0;
    this.#lose();
  }

  #take(data) {
    this.#heardAt = Date.now();
    const message = JSON.parse(data);
    if (message.type === "pong") {
      this.#attempt = 0;
      this.onLatency(this.#heardAt - this.#pingAt, message.at);
      return;
    }
    this.onMessage(message);
  }

  // Nobody to speak for: asking again would be refused again.
  #end() {
    this.#socket = null;
    this.isLive = false;
    this.onState("signed_out");
  }

  #lose() {
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
    this.isLive = false;
    this.onState("lost");
    const longest = BACKOFF_MS[Math.min(this.#attempt, BACKOFF_MS.length - 1)];
    this.#attempt += 1;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.open(), longest * (0.5 + Math.random() / 2));
  }

  #beat() {
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    if (Date.now() - this.#heardAt > SILENCE_MS) this.#lose();
    else this.#ping();
  }

  #ping() {
    this.#pingAt = Date.now();
    this.#send({ op: "ping" });
  }

  #send(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }
}
