// The connection to the program: events in, a state of the connection out. It reconnects by itself, for ever.

const RETRY_S = [1, 2, 4, 8, 15];
const GONE_S = 20; // no answer at all for so long: the program is taken for gone
const LATE_S = 3; // what is later than this makes the page ask whether the program answers
const ASK_AGAIN_S = 15;
const STUCK_S = 9;
const FIRST_S = 60; // so long the first state may take to come on a slow line
const SLEPT_S = 5; // a clock that ticks each second and is behind by more: the machine has slept
const HIDDEN_S = 60; // a page nobody sees gives its connection back: a browser has six for each site

export class Stream {
  /**
   * address: of the stream. probe: what wants the token too, and is answered at once, to find out why nothing comes.
   * onState(full), onChanges(changes) are given what came; onLink(link) {kind, since}: see `link`.
   */
  constructor({ address = "api/stream", probe, onState, onChanges, onLink }) {
    Object.assign(this, { address, probe, onState, onChanges, onLink });
    this.pollS = 10;
    this.heard = 0; // when anything came last, or was asked for, by a clock that no one sets
    this.told = false; // something has come through this connection
    this.tries = 0;
    this.link = { kind: "connecting", since: Date.now() / 1000 };
    this.source = null;
    this.retry = null;
    this.asked = 0; // when it was asked last whether the program answers
    this.awake = Date.now();
    this.hiddenAt = performance.now(); // counts while it is hidden, which it may be from the beginning
    document.addEventListener("visibilitychange", () => this.#seen());
    window.addEventListener("pageshow", (event) => event.persisted && this.#anew());
    document.addEventListener("resume", () => this.#anew());
    window.addEventListener("online", () => this.connect());
    // That says little: this machine's own programs can be seen still.
    window.addEventListener("offline", () => this.#ask());
    window.addEventListener("pagehide", () => this.#drop());
    setInterval(() => this.#watch(), 1000);
    this.connect();
  }

  /** Begins anew, at once. */
  connect() {
    this.#drop();
    this.heard = performance.now();
    this.told = false;
    const source = new EventSource(this.address);
    this.source = source;
    const take = (event, then) => {
      if (source !== this.source) return;
      this.heard = performance.now();
      this.tries = 0;
      this.told = true;
      then(JSON.parse(event.data));
      this.#is("live");
    };
    source.addEventListener("state", (event) => take(event, this.onState));
    source.addEventListener("changes", (event) => take(event, this.onChanges));
    source.addEventListener("error", () => source === this.source && this.#broken(source));
  }

  get limitMs() { return (2.5 * this.pollS + 5) * 1000; }

  /** After a sleep: what is shown is old until something comes, and the old connection may look alive for minutes. */
  #anew() {
    this.awake = Date.now();
    if (this.link.kind === "live") this.#is("connecting");
    this.connect();
  }

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

  /**
   * Why does nothing come? The program may be gone, or want its new token, or the network is away.
   * again: if it answers, connect again.
   */
  async #ask(again = false) {
    const asked = this.asked = performance.now();
    try {
      const answer = await fetch(this.probe, { cache: "no-store", signal: AbortSignal.timeout(5000) });
      if (this.link.kind === "live") return;
      if (answer.status === 401 || answer.status === 403) this.#is("stranger");
      else {
        if (this.link.kind !== "connecting") this.#is("reconnecting");
        if (again && this.heard < asked && this.retry === null) this.connect();
      }
    } catch {
      if (this.heard > asked) return;
      if (this.link.kind === "live") this.#is("reconnecting"); // the connection may look alive for minutes
      else if (this.link.kind !== "connecting" && Date.now() / 1000 - this.link.since > GONE_S) this.#is("gone");
      const stuck = this.source?.readyState === EventSource.CONNECTING
        && performance.now() - this.heard > STUCK_S * 1000;
      // The browser may have taken an old connection, a dead one.
      if (again && stuck && this.retry === null) this.connect();
    }
  }

  #watch() {
    const slept = Date.now() - this.awake > SLEPT_S * 1000;
    this.awake = Date.now();
    if (document.hidden) {
      if (this.source && performance.now() - this.hiddenAt > HIDDEN_S * 1000) this.#drop();
      return;
    }
    if (slept) { this.#anew(); return; }
    const now = performance.now();
    const quiet = now - this.heard;
    const open = this.source?.readyState === EventSource.OPEN;
    if (open && !this.told && quiet < FIRST_S * 1000) return; // it is on its way
    if (this.link.kind === "connecting" && quiet > LATE_S * 1000) this.#is("reconnecting");
    if (open && quiet > this.limitMs) {
      this.#is("reconnecting");
      this.connect();
    } else if (this.link.kind === "live") {
      const due = Math.min(this.pollS, ASK_AGAIN_S) + LATE_S;
      if (quiet > due * 1000 && now - this.asked > ASK_AGAIN_S * 1000) this.#ask();
    } else if (Math.round(quiet / 1000) % 5 === 0) {
      this.#ask(true);
    }
  }

  #seen() {
    if (document.hidden) {
      this.hiddenAt = performance.now();
    } else if (!this.source || performance.now() - this.heard > (this.pollS + 2) * 1000) {
      this.#anew();
    }
  }
}
