// Makes proxies for `benchmarks.peers.Sharp`: a line of JSON in, a line of JSON out.
// CPU time is that of this process, all its threads included.

import readline from "node:readline";
import { readFileSync, writeFileSync } from "node:fs";
import sharp from "sharp";

sharp.concurrency(1);
sharp.cache(false);

for await (const line of readline.createInterface({ input: process.stdin })) {
  const { path, width, height, format, output } = JSON.parse(line);
  try {
    const cpu = process.cpuUsage();
    const began = process.hrtime.bigint();
    const small = sharp(readFileSync(path)).rotate().resize(width, height, { fit: "fill" });
    const data = await (format === "PNG" ? small.png() : small.jpeg({ quality: 85 })).toBuffer();
    const wall = Number(process.hrtime.bigint() - began) / 1e9;
    const { user, system } = process.cpuUsage(cpu);
    if (output) writeFileSync(output, data);
    console.log(JSON.stringify({ cpu: (user + system) / 1e6, wall }));
  } catch (error) {
    console.log(JSON.stringify({ error: String(error) }));
  }
}
