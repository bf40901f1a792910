// The states of tasks, places (nodes and servers) and clients: what each is called, its icon, its tone, what it means.

const TASK = {
  queued: ["queued", "queued", "quiet", "Waits for a free server"],
  running: ["running", "running", "active", "Runs at its server"],
  finished: ["finished", "finished", "good", "Returned its result"],
  failed: ["failed", "failed", "bad", "Ended with an exception"],
  terminated: ["terminated", "stopped", "warn", "Was terminated"],
  timed_out: ["timed out", "late", "warn", "Ran longer than it was allowed to"],
  lost: ["lost", "lost", "bad", "Its server or node was lost: abandoned"],
  cancelled: ["cancelled", "stopped", "quiet", "Was taken back before it began"],
};
const PLACE = {
  discovered: ["found", "queued", "quiet", "Found, and not asked for yet"],
  disabled: ["disabled", "queued", "quiet", "Waits until the program enables it"],
  setup: ["setting up", "late", "active", "Its setup runs"],
  running: ["running", "running", "good", "Takes tasks"],
  suspended: ["suspended", "paused", "warn", "Finishes what it runs and is given nothing new"],
  silent: ["zombie", "warning", "warn", "Nothing is heard of it; it is given nothing new until it is heard again"],
  short: ["short", "warning", "warn", "It has less free than was asked for; it is given nothing new"],
  closing: ["closing", "late", "quiet", "Ends when its tasks have ended"],
  closed: ["closed", "stopped", "quiet", "Was closed"],
  lost: ["lost", "lost", "bad", "Its process or its connection is gone"],
};
const CLIENT = {
  running: ["has the cluster", "running", "active", "Its tasks run now"],
  waiting: ["waiting", "queued", "quiet", "Waits for its turn"],
};
export const KINDS = { task: TASK, place: PLACE, client: CLIENT };

export const LIVES = new Set(["running", "queued"]);
export const FAILED = new Set(["failed", "timed_out", "lost"]); // what the totals count as failed
export const ENDED_PLACE = new Set(["closed", "lost", "closing"]);

export function state(kind, name) {
  const [label, icon, tone, meaning] = KINDS[kind][name] || [String(name), "queued", "quiet", ""];
  return { label, icon, tone, meaning };
}
