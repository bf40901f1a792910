// The connection to the program: events in, a state of the connection out. It reconnects by itself, for ever.

const RETRY_S = [1, 2, 4, 8, 15];
const GONE_S = 20; // no answer at all for so long: the program is taken for gone
const HIDDEN_S = 60; // a page nobody sees gives its connection back: a browser has six for each site

export class Stream {
  /** onState(full), onChanges(changes) are given what came; onLink(link) {kind, since}: see `link`. */
  constructor({ onState, onChanges, onLink }) {
    Object.assign(this, { onState, onChanges, onLink });
    this.pollS = 10;
    this.heard = 0; // when anything came last, by a clock that no one sets
    this.tries = 0;
    this.link = { kind: "connecting", since: Date.now() / 1000 };
    this.source = null;
    this.retry = null;
    document.addEventListener("visibilitychange", () => this.#seen());
    window.addEventListener("pageshow", (event) => event.persisted && this.connect());
    window.addEventListener("online", () => this.connect());
    window.addEventListener("pagehide", () => this.#drop());
    setInterval(() => this.#watch(), 1000);
    this.connect();
  }

  /** Begins anew, at once. */
  connect() {
    this.#drop();
    this.heard = performance.now();
    const source = new EventSource("/api/stream");
    this.source = source;
    const take = (event, then) => {
      if (source !== this.source) return;
      this.heard = performance.now();
      this.tries = 0;
      then(JSON.parse(event.data));
      this.#is("live");
    };
    source.addEventListener("state", (event) => take(event, this.onState));
    source.addEventListener("changes", (event) => take(event, this.onChanges));
    source.addEventListener("error", () => source === this.source && this.#broken(source));
  }

  get limitMs() { return (2.5 * this.pollS + 5) * 1000; }

  #drop() {
    clearTimeout(this.retry);
    this.retry = null;
    this.source?.close();
    this.source = null;
  }

  #is(kind) {
    if (this.link.kind === kind) return;
    const goesOn = kind !== "live" && this.link.kind !== "live" && this.link.kind !== "connecting";
    this.link = { kind, since: goesOn ? this.link.since : Date.now() / 1000 };
    this.onLink(this.link);
  }

  /** The browser tries again by itself as long as it is "connecting"; after an answer that is no stream it gives up. */
  #broken(source) {
    if (this.link.kind === "live" || this.link.kind === "connecting") this.#is("reconnecting");
    this.#ask();
    if (source.readyState === EventSource.CLOSED && this.retry === null) this.#later();
  }

  #later() {
    const seconds = RETRY_S[Math.min(this.tries, RETRY_S.length - 1)];
    this.tries += 1;
    this.retry = setTimeout(() => this.connect(), seconds * 1000);
  }

  /** Why does nothing come? The program may be gone, or want its new token, or the network is away. */
  async #ask() {
    try {
      const answer = await fetch("/api/tasks?limit=0", { cache: "no-store", signal: AbortSignal.timeout(5000) });
      if (this.link.kind === "live") return;
      if (answer.status === 401 || answer.status === 403) this.#is("stranger");
      else if (this.link.kind !== "connecting") this.#is("reconnecting");
    } catch {
      if (this.link.kind !== "live" && Date.now() / 1000 - this.link.since > GONE_S) this.#is("gone");
    }
  }

  #watch() {
    if (document.hidden) {
      if (this.source && performance.now() - this.hiddenAt > HIDDEN_S * 1000) this.#drop();
      return;
    }
    const quiet = performance.now() - this.heard;
    if (this.source?.readyState === EventSource.OPEN && quiet > this.limitMs) {
      this.#is("reconnecting");
      this.connect();
    } else if (this.link.kind !== "live" && Math.round(quiet / 1000) % 5 === 0) {
      this.#ask();
      if (this.source && this.source.readyState !== EventSource.OPEN && quiet > this.limitMs) this.connect();
    }
  }

  #seen() {
    if (document.hidden) {
      this.hiddenAt = performance.now();
    } else if (!this.source || performance.now() - this.heard > (this.pollS + 2) * 1000) {
      this.connect(); // after a sleep the old connection may look alive for minutes
    }
  }
}
