"""Draw characters in many fonts: ``python scripts/draw_fonts.py FOLDER [--fonts /usr/share/fonts]``.

Makes a folder with a folder of images for each character, an image a font, for ``metarl train PRESET --images FOLDER``.
Each picture has a size, a place and a tilt of its own, always the same ones.
The fonts are those of the Debian packages in ``PACKAGES`` that have every character; ``apt-get install`` gets them, and
of missing ones the command is printed. With fewer than 60 fonts nothing is drawn.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from fontTools.ttLib import TTFont, TTLibError
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

PACKAGES: Mapping[str, str] = {
    "fonts-anonymous-pro": "truetype/anonymous-pro/*.ttf",
    "fonts-cmu": "truetype/cmu/*.ttf",
    "fonts-comfortaa": "truetype/comfortaa/*.ttf",
    "fonts-crosextra-carlito": "truetype/crosextra/*.ttf",
    "fonts-dejavu-core": "truetype/dejavu/*.ttf",
    "fonts-dejavu-extra": "truetype/dejavu/*.ttf",
    "fonts-ebgaramond": "opentype/ebgaramond/*.otf",
    "fonts-firacode": "truetype/firacode/*.ttf",
    "fonts-freefont-ttf": "truetype/freefont/*.ttf",
    "fonts-jetbrains-mono": "truetype/jetbrains-mono/*.ttf",
    "fonts-jura": "opentype/jura/*.otf",
    "fonts-liberation": "truetype/liberation/*.ttf",
    "fonts-linuxlibertine": "opentype/linux-libertine/*.otf",
    "fonts-oldstandard": "truetype/fonts-oldstandard/*.ttf",
    "fonts-open-sans": "truetype/open-sans/*.ttf",
    "fonts-play": "truetype/play/*.ttf",
    "fonts-roboto-unhinted": "truetype/roboto/unhinted/*/*.ttf",
    "fonts-tuffy": "truetype/tuffy/*.ttf",
    "fonts-urw-base35": "opentype/urw-base35/*.otf",
}
"""Debian packages, and where below the folder of fonts their files lie."""
CHARACTERS = "".join(
    (
        "0123456789",
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
        "!?&@#$%*+=<>{}[]()/\\~^§£¥¢¿¡÷×±¬«»¶©®°µ€†‡•…",
        "ßæÆøØþÞðĐđłŁœŒçÇñÑåÅöéêàÖÉÊÀŞşčČżŻğĞűŰůŮãÃïÏŋŊı",
        "ΓΔΘΛΞΠΣΨΩαβγδεζηθλξπρσςφχψω",
        "БДЖЗИЛУФЦЧШЩЪЫЭЮЯбвгджзклмнфцчшщъыэюяЄЂЉЊЋєђљњћ",
    )
)
"""The classes; of letters that look alike in several alphabets there is one."""
LEAST = 60  # fonts
SCALE = (0.55, 0.75)  # least and greatest size of a font, in sides of a picture
PLACE = 0.0625  # how far from the middle a character may be, in sides of a picture: 3 of 48 pixels
TILT = 8.0  # degrees, to either side
NOTE = ".drawn.json"  # what was drawn, written last


class MissingFonts(ValueError):
    """There are too few fonts; the message says how to get more."""


class Drawn(NamedTuple):
    """What was drawn.

    Args:
        characters: classes.
        fonts: images of each.
    """

    characters: int
    fonts: int


def find_fonts(root: Path) -> list[Path]:
    """The fonts of :data:`PACKAGES` that have all of :data:`CHARACTERS`, sorted.

    Args:
        root: the folder of fonts.

    Raises:
        MissingFonts: there are fewer than 60.
    """
    by_package = {name: sorted(root.glob(pattern)) for name, pattern in PACKAGES.items()}
    files = sorted({path for paths in by_package.values() for path in paths})
    found = [path for path in files if has_all(path)]
    if len(found) < LEAST:
        missing = [name for name, paths in by_package.items() if not paths]
        advice = f"apt-get install {' '.join(missing)}" if missing else "is the folder right?"
        raise MissingFonts(f"{len(found)} fonts of {root} have all characters, and {LEAST} are needed: {advice}")
    return found


def has_all(path: Path) -> bool:
    """Whether a font can be read, and has every character, with ink: some lead a character to an empty picture."""
    try:
        with TTFont(path, lazy=True) as font:
            named = set(map(ord, CHARACTERS)) <= (font.getBestCmap() or {}).keys()
        drawn = ImageFont.truetype(str(path), 32)
        return named and all(drawn.getmask(character).getbbox() for character in CHARACTERS)
    except (OSError, TTLibError):
        return False


def picture(path: Path, character: str, size: int, rng: np.random.Generator) -> Image.Image:
    """A picture of ``size`` by ``size`` pixels: white on black, near the middle, with a size, place and tilt at random.

    So it is with what is cut out of a page. Ink is light, since what distortions bring in from outside of a picture is
    black.
    """
    font = ImageFont.truetype(str(path), round(rng.uniform(*SCALE) * size))
    left, top, right, bottom = font.getbbox(character)
    glyph = Image.new("L", (int(right - left) + 2, int(bottom - top) + 2))
    ImageDraw.Draw(glyph).text((1 - left, 1 - top), character, fill=255, font=font)
    glyph = glyph.rotate(rng.uniform(-TILT, TILT), Image.Resampling.BICUBIC, expand=True)
    glyph = glyph.crop(glyph.getbbox())
    glyph.thumbnail((size, size))
    image = Image.new("L", (size, size))
    room = np.subtract(size, glyph.size)
    shift = rng.uniform(-PLACE, PLACE, 2) * size
    image.paste(glyph, tuple(np.clip(np.rint(room / 2 + shift), 0, room).astype(int).tolist()))
    return image


def draw(folder: Path, root: Path, size: int = 48) -> Drawn:
    """Draw all characters in all fonts, unless the same fonts were drawn there before.

    Args:
        folder: to make, with a folder for each character, named by its number in Unicode.
        root: the folder of fonts.
        size: pixels along a side.

    Raises:
        MissingFonts: there are too few.
        ValueError: something else is in the folder.
    """
    fonts = find_fonts(root)
    made = Drawn(len(CHARACTERS), len(fonts))
    told = {"characters": CHARACTERS, "fonts": [str(path.relative_to(root)) for path in fonts], "size": size}
    note = folder / NOTE
    if note.is_file() and json.loads(note.read_text()) == told:
        return made
    if folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"{folder} holds something else, or half of the pictures; remove it, or give another folder")
    for character in CHARACTERS:
        (folder / named(character)).mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(tqdm(fonts, "drawing", disable=None, leave=False)):
        for character in CHARACTERS:
            target = folder / named(character) / f"{number:03d}-{path.stem}.png"
            picture(path, character, size, np.random.default_rng([number, ord(character)])).save(target)
    note.write_text(json.dumps(told))
    return made


def named(character: str) -> str:
    """The folder of a character; file systems that don't tell A from a are no problem."""
    return f"U{ord(character):04X}"


def main() -> None:
    """Draw and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="to make")
    parser.add_argument("--fonts", type=Path, default=Path("/usr/share/fonts"), help="default /usr/share/fonts")
    parser.add_argument("--size", type=int, default=48, help="pixels along a side (default 48)")
    args = parser.parse_args()
    try:
        made = draw(args.folder, args.fonts, args.size)
    except MissingFonts as error:
        raise SystemExit(f"skipped: {error}") from None
    except ValueError as error:
        parser.error(str(error))
    print(f"{made.characters} characters in {made.fonts} fonts each: {args.folder}")


if __name__ == "__main__":
    main()
