"""The folder that the demo's agent tidies: a dozen small files with names that say little."""

from pathlib import Path

FILES = {
    "scan0001.txt": """\
Northwind Paper Ltd                                  Invoice no. 20418
500 sheets of copy paper, two boxes of envelopes
Total: EUR 84.20
Status: unpaid, due 14 March
""",
    "scan0002.txt": """\
City Power and Light                                 Invoice no. 7-1183
Electricity, November to January
Total: EUR 131.75
Status: paid by direct debit
""",
    "scan0003.txt": """\
Harbour Dental Practice                              Invoice no. D-552
Check-up and cleaning
Total: EUR 60.00
Status: unpaid, due 2 April
""",
    "bike.txt": """\
Invoice no. 311, Spoke & Wheel
New chain, brakes adjusted
Total: EUR 45.50
Status: paid in cash
""",
    "from-grandma.txt": """\
Plum cake
Ingredients: 1 kg plums, 300 g flour, 150 g butter, 120 g sugar, 2 eggs
Halve the plums. Rub flour, butter and sugar to crumbs, bind two thirds of them with the eggs.
Bake 45 minutes at 180 degrees.
""",
    "monday.txt": """\
Lentil soup
Ingredients: 250 g red lentils, 1 onion, 2 carrots, 1 lemon, cumin
Soften onion and carrots, add lentils and a litre of water, simmer for 20 minutes.
""",
    "final-version-2.txt": """\
Pancakes
Ingredients: 250 g flour, 500 ml milk, 3 eggs, a pinch of salt
Whisk, rest for half an hour, fry thin.
""",
    "untitled.txt": """\
Dear Anna,
the plums are ripe, come on Saturday and bring baskets. We still have your umbrella.
Yours, M.
""",
    "draft.txt": """\
Dear Mr Holt,
the window in the stairwell has not closed since October. Could you send somebody this week?
Kind regards, M. Farr
""",
    "ideas.txt": """\
- a shelf above the door
- learn to tune the piano by ear
- ask Tomasz about the boat
""",
    "todo.txt": """\
library books back by Friday
renew passport
oil for the bike chain
""",
    "meeting.txt": """\
Garden club, 12 February: beds 4 to 9 are shared out, water is on from April,
the shed key hangs at Ruth's. Next meeting on 11 March.
""",
}


def lay_out(directory: Path) -> dict[str, str]:
    """Write the files into a new *directory*; returns what `contents` would."""
    directory.mkdir()
    for name, text in FILES.items():
        (directory / name).write_text(text, "utf-8")
    return contents(directory)


def contents(directory: Path) -> dict[str, str]:
    """Return the text of every file by its path."""
    return {
        file.relative_to(directory).as_posix(): file.read_text("utf-8")
        for file in sorted(directory.rglob("*"))
        if file.is_file()
    }
