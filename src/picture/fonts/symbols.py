"""Makes symbols.ttf: arrows, marks and shapes that boards are full of and the other fonts lack.

Drawn here from points alone. Needs fonttools; run it in this folder after a change.
"""
from math import cos, hypot, pi, sin

from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

WIDTH, LINE, MIDDLE = 1000, 80, 350


def area(points):
    return sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(points, points[1:] + points[:1]))


def solid(points):
    """A filled outline; TrueType fills what runs clockwise."""
    return [points if area(points) < 0 else points[::-1]]


def hollow(points, inner):
    """An outline with a hole."""
    return solid(points) + [hole[::-1] for hole in solid(inner)]


def line(*points, width=LINE):
    """Bars from point to point with square joints."""
    outlines = []
    for (x0, y0), (x1, y1) in zip(points, points[1:]):
        length = hypot(x1 - x0, y1 - y0)
        dx, dy = (x1 - x0) / length * width / 2, (y1 - y0) / length * width / 2
        x0, y0, x1, y1 = x0 - dx, y0 - dy, x1 + dx, y1 + dy
        outlines += solid([(x0 - dy, y0 + dx), (x1 - dy, y1 + dx), (x1 + dy, y1 - dx), (x0 + dy, y0 - dx)])
    return outlines


def arc(radius, start=0, end=360, x=500, y=MIDDLE, steps=48):
    angles = [(start + (end - start) * i / steps) / 180 * pi for i in range(steps + (end - start < 360))]
    return [(x + radius * cos(a), y + radius * sin(a)) for a in angles]


def star(radius):
    return [arc(radius if i % 2 == 0 else radius * 0.4, 90 + 36 * i, 91 + 36 * i, steps=1)[0] for i in range(10)]


def heart(scale):
    return [
        (500 + scale * 16 * sin(t) ** 3, MIDDLE + scale * (13 * cos(t) - 5 * cos(2 * t) - 2 * cos(3 * t) - cos(4 * t)))
        for t in (i / 60 * 2 * pi for i in range(60))
    ]


def turn(outlines, quarters):
    for _ in range(quarters):
        outlines = [[(500 - (y - MIDDLE), MIDDLE + (x - 500)) for x, y in points] for points in outlines]
    return outlines


def flip(outlines, y=MIDDLE):
    return [[(px, 2 * y - py) for px, py in points][::-1] for points in outlines]


def ring(radius):
    return hollow(arc(radius), arc(radius - LINE))


def dots(*places):
    return sum((solid(arc(60, x=x, y=y)) for x, y in places), [])


ARROW = line((80, 350), (900, 350)) + line((640, 590), (910, 350), (640, 110))
BOTH = line((120, 350), (880, 350)) + line((360, 560), (90, 350), (360, 140)) + line((640, 560), (910, 350), (640, 140))
DOUBLE = line((80, 440), (800, 440)) + line((80, 260), (800, 260)) + line((640, 630), (920, 350), (640, 70))
DOUBLE_BOTH = line((200, 440), (800, 440)) + line((200, 260), (800, 260)) + line((640, 630), (920, 350), (640, 70))
DOUBLE_BOTH += line((360, 630), (80, 350), (360, 70))
CHECK = line((140, 330), (390, 60), (860, 680))
CROSS = line((180, 30), (820, 670)) + line((180, 670), (820, 30))
BOLD_CHECK = line((140, 330), (390, 60), (860, 680), width=150)
BOLD_CROSS = line((180, 30), (820, 670), width=150) + line((180, 670), (820, 30), width=150)
SQUARE = [(150, 0), (150, 700), (850, 700), (850, 0)]
SMALL_SQUARE = [(230, 80), (230, 620), (770, 620), (770, 80)]
UP = [(80, 0), (500, 730), (920, 0)]
SMALL_UP = [(218, 80), (500, 570), (782, 80)]
DIAMOND, SMALL_DIAMOND = arc(400, steps=4), arc(290, steps=4)
CUP = line((190, 700), (190, 330)) + line((810, 700), (810, 330)) + line(*arc(310, 180, 360, y=330))
SUBSET = line((820, 660), (480, 660)) + line(*arc(310, 90, 270, x=480)) + line((480, 40), (820, 40))

GLYPHS = {
    "→": ARROW, "↑": turn(ARROW, 1), "←": turn(ARROW, 2), "↓": turn(ARROW, 3), "↔": BOTH, "↕": turn(BOTH, 1),
    "⇒": DOUBLE, "⇑": turn(DOUBLE, 1), "⇐": turn(DOUBLE, 2), "⇓": turn(DOUBLE, 3), "⇔": DOUBLE_BOTH,
    "✓": CHECK, "✔": BOLD_CHECK, "✅": BOLD_CHECK, "✗": CROSS, "✘": BOLD_CROSS, "❌": BOLD_CROSS, "✕": CROSS,
    "★": solid(star(480)), "⭐": solid(star(480)), "☆": hollow(star(480), star(330)),
    "●": solid(arc(380)), "○": ring(380), "◎": ring(380) + ring(220), "◯": ring(460),
    "■": solid(SQUARE), "□": hollow(SQUARE, SMALL_SQUARE), "◆": solid(DIAMOND), "◇": hollow(DIAMOND, SMALL_DIAMOND),
    "▲": solid(UP), "△": hollow(UP, SMALL_UP), "▼": flip(solid(UP)), "▽": flip(hollow(UP, SMALL_UP)),
    "▶": turn(solid(UP), 3), "◀": turn(solid(UP), 1), "♥": solid(heart(26)), "♡": hollow(heart(26), heart(19)),
    "❤": solid(heart(26)), "∴": dots((500, 600), (250, 120), (750, 120)), "∵": dots((500, 120), (250, 600), (750, 600)),
    "∠": line((850, 40), (120, 40), (780, 640)), "⊥": line((120, 40), (880, 40)) + line((500, 40), (500, 700)),
    "∥": line((380, 0), (380, 700)) + line((620, 0), (620, 700)), "∪": CUP, "∩": flip(CUP), "⊂": SUBSET,
    "⊃": turn(SUBSET, 2), "∈": SUBSET + line((180, 350), (820, 350)),
    "∀": line((120, 700), (500, 0), (880, 700)) + line((290, 420), (710, 420)),
    "∃": line((200, 700), (780, 700), (780, 0), (200, 0)) + line((260, 350), (780, 350)),
    "∅": ring(340) + line((200, -20), (800, 720)), "∇": flip(hollow(UP, SMALL_UP)),
}


def main():
    names = {char: f"u{ord(char):04X}" for char in GLYPHS}
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", *names.values()])
    builder.setupCharacterMap({ord(char): name for char, name in names.items()})
    drawn = {".notdef": hollow([(100, 0), (100, 700), (600, 700), (600, 0)], [(150, 50), (150, 650), (550, 650), (550, 50)])}
    drawn |= {names[char]: outlines for char, outlines in GLYPHS.items()}
    glyphs = {}
    for name, outlines in drawn.items():
        pen = TTGlyphPen(None)
        for points in outlines:
            pen.moveTo(tuple(map(round, points[0])))
            for point in points[1:]:
                pen.lineTo(tuple(map(round, point)))
            pen.closePath()
        glyphs[name] = pen.glyph()
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics({name: (700 if name == ".notdef" else WIDTH, glyphs[name].xMin) for name in glyphs})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Panseo Symbols", "styleName": "Regular", "psName": "PanseoSymbols-Regular"})
    builder.setupOS2(sTypoAscender=800, sTypoDescender=-200, usWinAscent=800, usWinDescent=200)
    builder.setupPost()
    builder.font["head"].created = builder.font["head"].modified = 0
    builder.font.recalcTimestamp = False
    builder.save("symbols.ttf")


main()
