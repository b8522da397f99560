// The console's pages: what they share. No page needs a script to be read or to decide.
import { startClocks } from "./clocks.js";
import { startConfirming } from "./confirm.js";
import { startCopying } from "./copy.js";
import { startKeys } from "./keys.js";
import { startLiving } from "./live.js";
import { startPicking } from "./picks.js";
import { follow } from "./talk.js";

startClocks();
startConfirming();
startCopying();
startPicking();
startLiving();
startKeys();

const talk = document.getElementById("talk");
if (talk) follow(talk, document.getElementById("link"));
