// The picture on the page that checks receipts: drawn as in the terminal, from the receipt that was given.

import { drawPicture } from "./terminal/receiptpicture.mjs";

drawPicture(document.getElementById("picture"), JSON.parse(document.getElementById("told").textContent));
