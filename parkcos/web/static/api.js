// Questions and orders to the program. Their addresses are relative to the page's, which may stand below a path of
// another server.

export class Refused extends Error {
  constructor(message, status) { super(message); this.status = status; }
}

async function answer(path, options) {
  let response;
  try {
    response = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(15000), ...options });
  } catch {
    throw new Refused("The program does not answer.", 0);
  }
  if (response.status === 401) throw new Refused("The program wants its token: reload this page to log in.", 401);
  const body = await response.json().catch(() => ({}));
  if (response.ok) return body;
  const why = body.error || `The program answered ${response.status}.`;
  throw new Refused(why.replace(/^(GET|POST) \S+: /, ""), response.status);
}

export const get = (path) => answer(path, {});

export const post = (path, body) =>
  answer(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

/** Asks for more about a thing again and again, one question at a time: the newest answer goes to `then`. */
export class Asker {
  constructor(path, then, failed = () => {}) {
    Object.assign(this, { path, then, failed, busy: false, again: false, over: false });
  }

  async ask() {
    if (this.over) return;
    if (this.busy) { this.again = true; return; }
    this.busy = true;
    try {
      const body = await get(this.path);
      if (!this.over) this.then(body);
    } catch (error) {
      if (!this.over) this.failed(error);
    }
    this.busy = false;
    if (this.again) { this.again = false; this.ask(); }
  }

  end() { this.over = true; }
}
