// The stream of changes, read with `fetch`: an EventSource cannot send a token. It connects again by itself and goes on after
// the last position it saw.

import { OWN, Refusal, ask, renewToken } from './api.js';

/** How long to wait before the first attempt to connect again, and at most, in milliseconds. */
const [RETRY_MIN, RETRY_MAX] = [250, 10_000];
/** The server says something every 15 seconds; after three times as long the connection is dead. */
const SILENCE_MAX = 45_000;

export class Feed {
  #position = null;
  #ids = null;
  #stopped = false;
  #abort = new AbortController();
  #retry = RETRY_MIN;

  /** `on.snapshot(presences, isFirst, isLast)`, `on.change(change)`, `on.state(state, detail)`, `on.refused(refusal)`. */
  constructor(on) {
    this.on = on;
  }

  /** Runs until [`stop`]. `ids`: whose changes; `null`: everybody's. */
  async run(ids) {
    this.#ids = ids;
    this.on.state('connecting');
    while (!this.#stopped) {
      try {
        await this.#connect();
      } catch (error) {
        if (this.#stopped) return;
        if (error instanceof Refusal && !(await this.#recover(error))) {
          this.on.refused(error);
          return;
        }
      }
      if (this.#stopped) return;
      this.on.state('lost', this.#retry);
      await this.#pause();
    }
  }

  stop() {
    this.#stopped = true;
    this.#abort.abort();
  }

  async #connect() {
    this.#abort = new AbortController();
    const query = new URLSearchParams();
    if (this.#ids) query.set('ids', this.#ids.join(','));
    if (this.#position) query.set('from', this.#position);
    const signal = this.#abort.signal;
    const response = await ask(`${OWN}/presences/stream?${query}`, { signal });
    const isFirst = !this.#position;
    if (!isFirst) this.#live();
    let begun = false;
    let silence;
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(() => this.#abort.abort(), SILENCE_MAX);
    };
    heard();
    try {
      for await (const event of events(response.body, heard)) {
        if (event.id) this.#position = event.id;
        if (event.name === 'snapshot') {
          const data = JSON.parse(event.data);
          this.on.snapshot(data.presences.value, !begun, !data.more);
          begun = true;
          if (!data.more) this.#live();
          // A snapshot that ends in the middle is begun again: it has no place to go on from.
          else this.#position = null;
        } else if (event.name === 'change') {
          this.on.change(JSON.parse(event.data));
        } else if (event.name === 'behind') {
          this.#position = null;
          this.#retry = 0;
        } else if (event.name === 'end' && JSON.parse(event.data).reason === 'tokenExpired') {
          await renewToken();
          this.#retry = 0;
        }
      }
    } finally {
      clearTimeout(silence);
    }
  }

  #live() {
    this.#retry = RETRY_MIN;
    this.on.state('live');
  }

  /** Whether it is worth another attempt. */
  async #recover(error) {
    // A server that lost its data does not know the position any more: begin again.
    if (error.status === 400 && this.#position) {
      this.#position = null;
      this.#retry = 0;
      return true;
    }
    return error.status === 429 || error.status >= 500;
  }

  async #pause() {
    const wait = this.#retry * (0.75 + Math.random() / 2);
    this.#retry = Math.min(RETRY_MAX, Math.max(RETRY_MIN, this.#retry * 2));
    await new Promise((done) => setTimeout(done, wait));
  }
}

/** The events of a stream (HTML standard, section 9.2.6, as much of it as the server uses). */
async function* events(body, heard) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    heard();
    rest += value;
    let end;
    while ((end = rest.indexOf('\n\n')) >= 0) {
      const event = { name: 'message', id: null, data: '' };
      for (const line of rest.slice(0, end).split('\n')) {
        if (line.startsWith('id: ')) event.id = line.slice(4);
        else if (line.startsWith('event: ')) event.name = line.slice(7);
        else if (line.startsWith('data: ')) event.data += line.slice(6);
      }
      rest = rest.slice(end + 2);
      if (event.data) yield event;
    }
  }
}
