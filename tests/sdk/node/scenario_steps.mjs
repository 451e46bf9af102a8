// What the Node runners share: the file of scenarios, the emulator's own resources, the user who signs in, and the lines
// they print.

import { readFileSync } from "node:fs";

/** The client cannot express a step. */
export class Unsupported extends Error {}

export function scenarios() {
  return JSON.parse(readFileSync(process.argv[2], "utf8"));
}

/** POSTs to a resource of the emulator, which is no part of Graph: plain HTTP. */
export async function control(step) {
  const response = await fetch(`${process.env.PRESENCED_HTTP_URL}/_presenced/v1/${step.control}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(step.body),
  });
  if (!response.ok) {
    throw new Error(`${step.control}: ${response.status} ${await response.text()}`);
  }
}

/** What user A does in a browser: chooses herself on a page of the emulator, and agrees. Where that leads. */
export async function agree(page, more = {}) {
  const form = new URLSearchParams({ user: "ana.fuentes@presenced.example", decision: "agree", ...more });
  const response = await fetch(page, { method: "POST", body: form, redirect: "manual" });
  return response.headers.get("Location");
}

/** Carries out every scenario; `refusal` makes a line's error of what the client throws, or nothing of anything else. */
export async function carryOutAll(carryOut, refusal) {
  for (const [scenario, { steps }] of scenarios().entries()) {
    for (const [number, step] of steps.entries()) {
      if (step.control) {
        await control(step);
        continue;
      }
      const line = { scenario, step: number };
      try {
        line.result = (await carryOut(step)) ?? null;
      } catch (error) {
        if (error instanceof Unsupported) {
          line.unsupported = error.message;
        } else {
          line.error = await refusal(error);
          if (!line.error) {
            throw error;
          }
        }
      }
      console.log(JSON.stringify(line));
    }
  }
}
