"""Content: bytes and text from outside become content here and nowhere else.

values.py     Media, Content, LoadedContent: what the rest of the system holds
text.py       a text is checked, never changed
source.py     base64 and data URLs of a JSON body become bytes
address.py    an image's address on the web, parsed once
fetch.py      images by address, from hosts that the operator allows
header.py     what an image says of itself, read without a decoder
image.py      bytes become pixels, under the operator's limits
process.py    the decoder's own process, as its parent sees it
child.py      the decoder's own process, as it sees itself
inspector.py  images are verified in such processes, many at a time
"""

from repick.content.address import ImageAddress, parse_hosts
from repick.content.image import ImagePolicy, decode_image, image_error, inspect_image
from repick.content.inspector import ImageInspector
from repick.content.source import ImageSource, read_image_source
from repick.content.text import clean_text
from repick.content.values import Content, LoadedContent, Media

__all__ = [
    "Content",
    "ImageAddress",
    "ImageInspector",
    "ImagePolicy",
    "ImageSource",
    "LoadedContent",
    "Media",
    "clean_text",
    "decode_image",
    "image_error",
    "inspect_image",
    "parse_hosts",
    "read_image_source",
]
