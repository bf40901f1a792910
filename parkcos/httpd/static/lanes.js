// Which task ran beside which: the tasks of a server put into lanes, so that none covers another. Pure.

export const TONES = ["good", "active", "warn", "bad"]; // drawn in this order: what failed lies on top
const TONE_OF = { finished: 0, running: 1, terminated: 2, timed_out: 2, cancelled: 2, failed: 3, lost: 3 };

/**
 * -> {tasks, starts, ends (Infinity while it runs), lanes, of, tones}, ordered by their starts. of: how many lanes
 * those have that overlap, each with the next: one that ran alone has all the height, whatever ran beside each other
 * before.
 */
export function lay(tasks) {
  const began = tasks.filter((task) => task.started).sort((a, b) => a.started - b.started || a.id - b.id);
  const starts = new Float64Array(began.length);
  const ends = new Float64Array(began.length);
  const lanes = new Uint16Array(began.length);
  const of = new Uint16Array(began.length);
  const tones = new Uint8Array(began.length);
  let busyUntil = [];
  let first = 0;
  let last = -Infinity;
  began.forEach((task, index) => {
    if (task.started >= last) {
      of.fill(busyUntil.length, first, index);
      first = index;
      busyUntil = [];
    }
    starts[index] = task.started;
    ends[index] = task.ended || Infinity;
    tones[index] = TONE_OF[task.state] ?? 0;
    let lane = busyUntil.findIndex((until) => until <= task.started);
    if (lane < 0) lane = busyUntil.length;
    busyUntil[lane] = ends[index];
    lanes[index] = lane;
    last = Math.max(last, ends[index]);
  });
  of.fill(busyUntil.length, first);
  return { tasks: began, starts, ends, lanes, of, tones };
}

const STEPS_S = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200,
  86400, 172800, 604800];

/** Where the time axis has its marks: whole steps, about one each `space_px`. */
export function ticks(from, to, width, space = 90) {
  const least = ((to - from) / Math.max(1, width)) * space;
  const step = STEPS_S.find((each) => each >= least) || STEPS_S[STEPS_S.length - 1];
  const zone = new Date(from * 1000).getTimezoneOffset() * 60;
  const marks = [];
  for (let t = Math.ceil((from - zone) / step) * step + zone; t <= to; t += step) marks.push(t);
  return { step, marks };
}
