// Numbers, times and states as people read them. Nothing here knows of the page.

const NUMBER = new Intl.NumberFormat("en-US");
const UNKNOWN = "–";

export const count = (n) => (n === null || n === undefined ? UNKNOWN : NUMBER.format(n));

export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

export const percent = (n) => (n === null || n === undefined ? UNKNOWN : `${Math.round(n)} %`);

export function rate(n) {
  if (n === null || n === undefined) return UNKNOWN;
  return n >= 100 ? count(Math.round(n)) : n >= 10 ? n.toFixed(0) : n.toFixed(1);
}

export function bytes(n) {
  if (n === null || n === undefined) return UNKNOWN;
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  while (n >= 1024 && unit < units.length - 1) { n /= 1024; unit += 1; }
  return `${n >= 100 || unit === 0 ? Math.round(n) : n.toFixed(1)} ${units[unit]}`;
}

/** Seconds as "0.35 s", "12 s", "3 min 05 s", "2 h 07 min", "3 d 4 h". */
export function duration(s) {
  if (s === null || s === undefined || Number.isNaN(s)) return UNKNOWN;
  s = Math.max(0, s);
  if (s < 0.0995) return `${Math.round(s * 1000)} ms`;
  if (s < 9.95) return `${s.toFixed(1)} s`;
  if (s < 59.5) return `${Math.round(s)} s`;
  const two = (n) => String(n).padStart(2, "0");
  const all = Math.round(s);
  if (all < 3600) return `${Math.floor(all / 60)} min ${two(all % 60)} s`;
  const minutes = Math.floor(all / 60);
  if (minutes < 1440) return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
  return `${Math.floor(minutes / 1440)} d ${Math.floor((minutes % 1440) / 60)} h`;
}

/** How long ago, about: it is shown many times and must not flicker. */
export function ago(then, now) {
  if (!then) return UNKNOWN;
  const s = Math.max(0, now - then);
  if (s < 1.5) return "just now";
  if (s < 59.5) return `${Math.round(s)} s ago`;
  if (s < 3570) return `${Math.round(s / 60)} min ago`;
  return s < 86400 ? `${Math.round(s / 3600)} h ago` : `${Math.floor(s / 86400)} d ago`;
}

export function clock(t) {
  return t ? new Date(t * 1000).toLocaleTimeString("en-GB") : UNKNOWN;
}

/** The time of day; with the date if that is not today's. */
export function moment(t, now = Date.now() / 1000) {
  if (!t) return UNKNOWN;
  const date = new Date(t * 1000);
  if (date.toDateString() === new Date(now * 1000).toDateString()) return clock(t);
  return `${date.toLocaleDateString("sv-SE")} ${clock(t)}`;
}

/** "Linux-6.1.0-18-amd64-x86_64-with-glibc2.36" as "Linux 6.1.0 x86_64". */
export function platform(text) {
  const [, system, version, machine] = /^([A-Za-z]+)-([\d.]+).*?-(x86_64|aarch64|arm64|AMD64|i686)\b/.exec(text) || [];
  return system ? `${system} ${version} ${machine}` : text;
}

export const address = (record) => `${record.addr.includes(":") ? `[${record.addr}]` : record.addr}:${record.port}`;
