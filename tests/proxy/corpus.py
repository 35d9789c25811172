"""Malformed and borderline requests, each with what may reach the application: exactly what was meant, or nothing.

In the bytes, `{n}` stands for the case's number, so that its requests can be told from all others. A case is sent on a
connection of its own with a canary behind it (`canary_request`); `answers` are the statuses of all responses, the
canary's among them where it is `CANARY`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

CANARY = -1
# the canary's answer follows an accepted request; nothing follows one that ends the connection
OK, OK_END = (200, CANARY), (200,)
# the connection is closed without a word
NOTHING: tuple[int, ...] = ()
# the error's document without a header, which is all that HTTP/0.9 knows
BARE = -2


@dataclass(frozen=True)
class Case:
    """`reaches` are the (method, target, body) that the application sees before any canary."""

    name: str
    sent: bytes
    answers: tuple[int, ...]
    reaches: list[tuple[str, str, bytes]] = field(default_factory=list)
    host: str = "h"


def canary_request(number: int) -> bytes:
    return b"GET /canary%d HTTP/1.1\r\nHost: canary\r\nConnection: close\r\n\r\n" % number


def get(name: str, head: bytes, answers: tuple[int, ...] = OK, host: str = "h") -> Case:
    """A GET of /t{n} with extra header lines."""
    sent = b"GET /t{n} HTTP/1.1\r\nHost: h\r\n" + head + b"\r\n"
    return Case(name, sent, answers, [("GET", "/t{n}", b"")] if 200 in answers else [], host)


def post(name: str, head: bytes, body: bytes, answers: tuple[int, ...] = OK, reaches: bytes | None = None) -> Case:
    """A POST of /t{n} with these header lines and body bytes; the application sees `reaches`, or nothing if refused."""
    sent = b"POST /t{n} HTTP/1.1\r\nHost: h\r\n" + head + b"\r\n" + body
    seen = [("POST", "/t{n}", body if reaches is None else reaches)] if 200 in answers else []
    return Case(name, sent, answers, seen)


def line(name: str, first: bytes, answers: tuple[int, ...], *reaches: str, host: str = "h") -> Case:
    """Another request line; what it reaches is "METHOD target"."""
    sent = first + b"\r\nHost: h\r\n\r\n"
    return Case(name, sent, answers, [(*entry.split(" "), b"") for entry in reaches], host)  # type: ignore[misc]


FIVE = b"abcde"
LARGEST = b"x" * 2**20
INNER = b"GET /smuggled HTTP/1.1\r\nHost: evil\r\n\r\n"
CHUNKED = b"5\r\nabcde\r\n0\r\n\r\n"
TE = b"Transfer-Encoding: chunked\r\n"

CONTENT_LENGTH = [
    post("one length", b"Content-Length: 5\r\n", FIVE),
    post("length in lower case", b"content-length: 5\r\n", FIVE),
    post("length in upper case", b"CONTENT-LENGTH: 5\r\n", FIVE),
    post("length without a blank", b"Content-Length:5\r\n", FIVE),
    post("length with blanks", b"Content-Length:   5   \r\n", FIVE),
    post("length with zeros", b"Content-Length: 005\r\n", FIVE),
    post("length behind a tab", b"Content-Length:\t5\r\n", FIVE, (400,)),
    post("length before a tab", b"Content-Length: 5\t\r\n", FIVE, (400,)),
    post("two equal lengths", b"Content-Length: 5\r\nContent-Length: 5\r\n", FIVE, (400,)),
    post("two equal lengths in different case", b"Content-Length: 5\r\ncontent-length: 5\r\n", FIVE, (400,)),
    post("two different lengths", b"Content-Length: 5\r\nContent-Length: 0\r\n", FIVE, (400,)),
    post("two different lengths, the other order", b"Content-Length: 0\r\nContent-Length: 5\r\n", FIVE, (400,)),
    post("three lengths", b"Content-Length: 5\r\n" * 3, FIVE, (400,)),
    post("a list of equal lengths", b"Content-Length: 5, 5\r\n", FIVE, (400,)),
    post("a list of different lengths", b"Content-Length: 5, 0\r\n", FIVE, (400,)),
    post("a list with nothing behind the comma", b"Content-Length: 5,\r\n", FIVE, (400,)),
    post("positive length", b"Content-Length: +5\r\n", FIVE, (400,)),
    post("negative length", b"Content-Length: -5\r\n", FIVE, (400,)),
    post("hexadecimal length", b"Content-Length: 0x5\r\n", FIVE, (400,)),
    post("fraction as a length", b"Content-Length: 5.0\r\n", FIVE, (400,)),
    post("exponent as a length", b"Content-Length: 5e0\r\n", FIVE, (400,)),
    post("underscore in a length", b"Content-Length: 0_5\r\n", FIVE, (400,)),
    post("word as a length", b"Content-Length: five\r\n", FIVE, (400,)),
    post("quoted length", b'Content-Length: "5"\r\n', FIVE, (400,)),
    post("length with a parameter", b"Content-Length: 5;q=1\r\n", FIVE, (400,)),
    post("empty length", b"Content-Length:\r\n", FIVE, (400,)),
    post("length and empty length", b"Content-Length: 5\r\nContent-Length:\r\n", FIVE, (400,)),
    post("length of 2^64 + 5", b"Content-Length: 18446744073709551621\r\n", FIVE, (400,)),
    post("length of 2^63 - 1", b"Content-Length: 9223372036854775807\r\n", FIVE, (413,)),
    post("length of 2^32 + 5", b"Content-Length: 4294967301\r\n", FIVE, (413,)),
    post("digits of another script", "Content-Length: ٥\r\n".encode(), FIVE, (400,)),
    post("full-width digit", "Content-Length: ５\r\n".encode(), FIVE, (400,)),
    post("vertical tab in a length", b"Content-Length: \x0b5\r\n", FIVE, (400,)),
    post("NUL in a length", b"Content-Length: 5\x00\r\n", FIVE, (400,)),
    post("folded length", b"Content-Length:\r\n 5\r\n", FIVE, (400,)),
    post("blank before the colon", b"Content-Length : 5\r\n", FIVE, (400,)),
    post("tab before the colon", b"Content-Length\t: 5\r\n", FIVE, (400,)),
    post("underscore in the name", b"Content_Length: 5\r\n", FIVE, (200, 400), b""),
    post("no length, but a body", b"", FIVE, (200, 400), b""),
    post("length of none, but a body", b"Content-Length: 0\r\n", FIVE, (200, 400), b""),
    post("length shorter than the body", b"Content-Length: 3\r\n", FIVE, (200, 400), b"abc"),
    post("length longer than all that comes", b"Content-Length: 9999\r\n", FIVE, NOTHING),
    post("length of 100 digits", b"Content-Length: " + b"9" * 100 + b"\r\n", FIVE, (400,)),
    post("length of 100 zeros and a digit", b"Content-Length: " + b"0" * 100 + b"5\r\n", FIVE),
    post("body a byte larger than allowed", b"Content-Length: 1048577\r\n", LARGEST + b"x", (413,)),
    post("empty line behind the body", b"Content-Length: 5\r\n", FIVE + b"\r\n", reaches=FIVE),
    post("length named by Connection", b"Connection: Content-Length\r\nContent-Length: 5\r\n", FIVE),
    post("Expect and a length", b"Expect: 100-continue\r\nContent-Length: 5\r\n", FIVE, (100, *OK)),
    post("Expect and too large a body", b"Expect: 100-continue\r\nContent-Length: 1048577\r\n", LARGEST + b"x", (413,)),
    post("upgrade with a body", b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n", FIVE),
    Case("HTTP/1.0 that stays",
         b"POST /t{n} HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nabcde", OK,
         [("POST", "/t{n}", FIVE)]),
    Case("HTTP/1.0 with a body without a length", b"POST /t{n} HTTP/1.0\r\nHost: h\r\n\r\nabcde", OK_END,
         [("POST", "/t{n}", b"")]),
    Case("body of a GET", b"GET /t{n} HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabcde", OK, [("GET", "/t{n}", FIVE)]),
    Case("body of a DELETE", b"DELETE /t{n} HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabcde", OK,
         [("DELETE", "/t{n}", FIVE)]),
    post("request as a body", b"Content-Length: %d\r\n" % len(INNER), INNER),
    Case("request as the body of a GET",
         b"GET /t{n} HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(INNER) + INNER, OK,
         [("GET", "/t{n}", INNER)]),
]  # fmt: skip

SMUGGLED = b"0\r\n\r\n" + INNER
TRANSFER_ENCODING = [
    post("chunked", TE, CHUNKED, reaches=FIVE),
    post("Chunked", b"Transfer-Encoding: Chunked\r\n", CHUNKED, reaches=FIVE),
    post("CHUNKED", b"TRANSFER-ENCODING: CHUNKED\r\n", CHUNKED, reaches=FIVE),
    post("chunked without a blank", b"Transfer-Encoding:chunked\r\n", CHUNKED, reaches=FIVE),
    post("chunked with blanks", b"Transfer-Encoding:   chunked   \r\n", CHUNKED, reaches=FIVE),
    post("chunked with TE", TE + b"TE: trailers, chunked\r\n", CHUNKED, reaches=FIVE),
    post("CL.TE", b"Content-Length: 44\r\n" + TE, SMUGGLED, (400,)),
    post("TE.CL", TE + b"Content-Length: 4\r\n", b"5\r\nabcde\r\n" + SMUGGLED, (400,)),
    post("CL of 0 and TE", b"Content-Length: 0\r\n" + TE, CHUNKED, (400,)),
    post("TE and a wrong CL", TE + b"Content-Length: x\r\n", CHUNKED, (400,)),
    post("TE.TE, chunked twice", TE + TE, CHUNKED, (400,)),
    post("TE.TE, the second unknown", TE + b"Transfer-encoding: cow\r\n", CHUNKED, (400,)),
    post("TE.TE, the first unknown", b"Transfer-encoding: cow\r\n" + TE, CHUNKED, (400,)),
    post("TE.TE, identity", TE + b"Transfer-Encoding: identity\r\n", CHUNKED, (400,)),
    post("chunked, chunked", b"Transfer-Encoding: chunked, chunked\r\n", CHUNKED, (501,)),
    post("chunked, identity", b"Transfer-Encoding: chunked, identity\r\n", CHUNKED, (501,)),
    post("identity, chunked", b"Transfer-Encoding: identity, chunked\r\n", CHUNKED, (501,)),
    post("identity", b"Transfer-Encoding: identity\r\n", CHUNKED, (501,)),
    post("identity with a length", b"Transfer-Encoding: identity\r\nContent-Length: 5\r\n", FIVE, (501,)),
    post("gzip", b"Transfer-Encoding: gzip\r\n", CHUNKED, (501,)),
    post("gzip, chunked", b"Transfer-Encoding: gzip, chunked\r\n", CHUNKED, (501,)),
    post("xchunked", b"Transfer-Encoding: xchunked\r\n", CHUNKED, (501,)),
    post("chunkedx", b"Transfer-Encoding: chunkedx\r\n", CHUNKED, (501,)),
    post("chunke", b"Transfer-Encoding: chunke\r\n", CHUNKED, (501,)),
    post("chunked with a parameter", b"Transfer-Encoding: chunked;q=1\r\n", CHUNKED, (501,)),
    post("quoted chunked", b'Transfer-Encoding: "chunked"\r\n', CHUNKED, (501,)),
    post("comma before chunked", b"Transfer-Encoding: ,chunked\r\n", CHUNKED, (501,)),
    post("comma behind chunked", b"Transfer-Encoding: chunked,\r\n", CHUNKED, (501,)),
    post("tab before chunked", b"Transfer-Encoding:\tchunked\r\n", CHUNKED, (501,)),
    post("tab behind chunked", b"Transfer-Encoding: chunked\t\r\n", CHUNKED, (501,)),
    post("vertical tab before chunked", b"Transfer-Encoding: \x0bchunked\r\n", CHUNKED, (501,)),
    post("form feed behind chunked", b"Transfer-Encoding: chunked\x0c\r\n", CHUNKED, (501,)),
    post("bell in chunked", b"Transfer-Encoding: chu\x07nked\r\n", CHUNKED, (501,)),
    post("0xff behind chunked", b"Transfer-Encoding: chunked\xff\r\n", CHUNKED, (501,)),
    post("non-breaking space before chunked", b"Transfer-Encoding: \xa0chunked\r\n", CHUNKED, (501,)),
    post("Kelvin sign in chunked", "Transfer-Encoding: chun\u212aed\r\n".encode(), CHUNKED, (501,)),
    post("NUL in chunked", b"Transfer-Encoding: chun\x00ked\r\n", CHUNKED, (400,)),
    post("empty transfer encoding", b"Transfer-Encoding:\r\n", CHUNKED, (501,)),
    post("folded chunked", b"Transfer-Encoding:\r\n chunked\r\n", CHUNKED, (400,)),
    post("folded behind chunked", b"Transfer-Encoding: chunked\r\n identity\r\n", CHUNKED, (400,)),
    post("TE with a blank before the colon", b"Transfer-Encoding : chunked\r\n", CHUNKED, (400,)),
    post("TE with a blank before the name", b" Transfer-Encoding: chunked\r\n", CHUNKED, (400,)),
    post("TE with a blank in the name", b"Transfer Encoding: chunked\r\n", CHUNKED, (400,)),
    post("TE with a control in the name", b"Transfer-Encoding\x01: chunked\r\n", CHUNKED, (400,)),
    post("TE with an underscore", b"Transfer_Encoding: chunked\r\n", CHUNKED, (200, 400), b""),
    post("TE behind a bare CR", b"X: y\rTransfer-Encoding: chunked\r\n", CHUNKED, (400,)),
    post("TE behind a bare LF", b"X: y\nTransfer-Encoding: chunked\r\n", CHUNKED, reaches=FIVE),
    post("TE behind CR CR LF", b"X: y\r\r\nTransfer-Encoding: chunked\r\n", CHUNKED, reaches=FIVE),
    post("TE named by Connection", b"Connection: Transfer-Encoding\r\n" + TE, CHUNKED, reaches=FIVE),
    post("TE and Expect", b"Expect: 100-continue\r\n" + TE, CHUNKED, (100, *OK), FIVE),
    Case("chunked in HTTP/1.0", b"POST /t{n} HTTP/1.0\r\nHost: h\r\n" + TE + b"\r\n" + CHUNKED, (400,)),
    Case("chunked GET", b"GET /t{n} HTTP/1.1\r\nHost: h\r\n" + TE + b"\r\n" + CHUNKED, OK, [("GET", "/t{n}", FIVE)]),
]  # fmt: skip


def chunks(name: str, body: bytes, answers: tuple[int, ...] = OK, reaches: bytes = FIVE) -> Case:
    return post(name, TE, body, answers, reaches)


CHUNKS = [
    chunks("zeros before the size", b"0005\r\nabcde\r\n0\r\n\r\n"),
    chunks("sixteen digits", b"0000000000000005\r\nabcde\r\n0\r\n\r\n"),
    chunks("upper-case size", b"A\r\nabcdefghij\r\n0\r\n\r\n", reaches=b"abcdefghij"),
    chunks("lower-case size", b"a\r\nabcdefghij\r\n0\r\n\r\n", reaches=b"abcdefghij"),
    chunks("many chunks", b"1\r\na\r\n1\r\nb\r\n3\r\ncde\r\n0\r\n\r\n"),
    chunks("only the last chunk", b"0\r\n\r\n", reaches=b""),
    chunks("last chunk of many zeros", b"5\r\nabcde\r\n0000\r\n\r\n"),
    chunks("extension", b"5;a=b\r\nabcde\r\n0;c\r\n\r\n"),
    chunks("blank before the extension", b"5 ;a=b\r\nabcde\r\n0\r\n\r\n"),
    chunks("quoted extension", b'5;a="b;c"\r\nabcde\r\n0\r\n\r\n'),
    chunks("blank behind the size", b"5 \r\nabcde\r\n0\r\n\r\n"),
    chunks("trailer", b"5\r\nabcde\r\n0\r\nX-Trailer: 1\r\n\r\n"),
    chunks("length as a trailer", b"5\r\nabcde\r\n0\r\nContent-Length: 50\r\n\r\n"),
    chunks("host as a trailer", b"5\r\nabcde\r\n0\r\nHost: evil\r\nTransfer-Encoding: x\r\n\r\n"),
    chunks("chunk that holds a request", b"%x\r\n%b\r\n0\r\n\r\n" % (len(INNER), INNER), reaches=INNER),
    chunks("bare LF in the framing", b"5\nabcde\n0\n\n"),
    chunks("extension of 100,000 bytes", b"5;" + b"a" * 100_000 + b"\r\nabcde\r\n0\r\n\r\n"),
    chunks("a thousand zeros before the size", b"0" * 1000 + b"5\r\nabcde\r\n0\r\n\r\n"),
    chunks("trailer of 100,000 bytes", b"5\r\nabcde\r\n0\r\nX: " + b"a" * 100_000 + b"\r\n\r\n"),
    # all of it is the trailer
    chunks("request as a trailer", b"5\r\nabcde\r\n0\r\n" + INNER),
    chunks("ten thousand chunks", b"1\r\nx\r\n" * 10_000 + b"0\r\n\r\n", reaches=b"x" * 10_000),
    chunks("bare LF behind the last size", b"5\r\nabcde\r\n0\n\r\n"),
    chunks("bare CR in the trailer", b"5\r\nabcde\r\n0\r\nX: a\rb\r\n\r\n", (400,)),
    chunks("LF CR behind a chunk", b"5\r\nabcde\n\r0\r\n\r\n", (400,)),
    chunks("minus before the last size", b"5\r\nabcde\r\n-0\r\n\r\n", (400,)),
    chunks("0x before the size", b"0x5\r\nabcde\r\n0\r\n\r\n", (400,)),
    chunks("plus before the size", b"+5\r\nabcde\r\n0\r\n\r\n", (400,)),
    chunks("minus before the size", b"-5\r\nabcde\r\n0\r\n\r\n", (400,)),
    chunks("blank before the size", b" 5\r\nabcde\r\n0\r\n\r\n", (400,)),
    chunks("underscore in the size", b"0_5\r\nabcde\r\n0\r\n\r\n", (400,)),
    chunks("h behind the size", b"5h\r\nabcde\r\n0\r\n\r\n", (400,)),
    chunks("g as the size", b"g\r\nabcde\r\n0\r\n\r\n", (400,)),
    chunks("NUL behind the size", b"5\x00\r\nabcde\r\n0\r\n\r\n", (400,)),
    chunks("no size", b"\r\nabcde\r\n0\r\n\r\n", (400,)),
    chunks("size of 2^64 + 5", b"10000000000000005\r\nabcde\r\n0\r\n\r\n", (400,)),
    chunks("size of 2^64 - 1", b"ffffffffffffffff\r\nabcde\r\n0\r\n\r\n", (400,)),
    chunks("size of 2^63 - 1", b"7fffffffffffffff\r\nabcde\r\n0\r\n\r\n", (400,)),
    chunks("size of 2^32 + 5", b"100000005\r\nabcde\r\n0\r\n\r\n", (413,)),
    chunks("chunk longer than its size", b"5\r\nabcdefg\r\n0\r\n\r\n", (400,)),
    chunks("chunk shorter than its size", b"7\r\nabcde\r\n0\r\n\r\n", (400,)),
    chunks("nothing behind a chunk", b"5\r\nabcde0\r\n\r\n", (400,)),
    chunks("bare CR behind a chunk", b"5\r\nabcde\r0\r\n\r\n", (400,)),
    chunks("bare CR behind the size", b"5\rabcde\r\n0\r\n\r\n", (400,)),
    chunks("bare CR in an extension", b"5;a\rb\r\nabcde\r\n0\r\n\r\n", (400,)),
    chunks("LF as an extension", b"5;\n\r\nabcde\r\n0\r\n\r\n", (400,)),
    chunks("not chunked at all", FIVE + b"xyz", (400,)),
    chunks("end without a last chunk", b"5\r\nabcde\r\n", (400,)),
    chunks("end within a chunk", b"ff\r\nabcde", NOTHING),
    chunks("larger in all than allowed", b"80000\r\n" + b"x" * 0x80000 + b"\r\n80001\r\n" + b"x" * 0x80001 + b"\r\n0\r\n\r\n",
           (413,)),
]  # fmt: skip

REQUEST_LINE = [
    line("plain", b"GET /t{n} HTTP/1.1", OK, "GET /t{n}"),
    line("query", b"GET /t{n}?a=b&c=%20 HTTP/1.1", OK, "GET /t{n}?a=b&c=%20"),
    line("two blanks before the target", b"GET  /t{n} HTTP/1.1", OK, "GET /t{n}"),
    line("two blanks before the version", b"GET /t{n}  HTTP/1.1", OK, "GET /t{n}"),
    line("blank behind the version", b"GET /t{n} HTTP/1.1 ", OK, "GET /t{n}"),
    line("empty lines before it", b"\r\n\r\nGET /t{n} HTTP/1.1", OK, "GET /t{n}"),
    line("bare LFs before it", b"\n\nGET /t{n} HTTP/1.1", OK, "GET /t{n}"),
    Case("all lines with bare LF", b"GET /t{n} HTTP/1.1\nHost: h\n\n", OK, [("GET", "/t{n}", b"")]),
    line("tab instead of a blank", b"GET\t/t{n} HTTP/1.1", (400,)),
    line("form feed instead of a blank", b"GET\x0c/t{n} HTTP/1.1", (400,)),
    line("blank before the method", b" GET /t{n} HTTP/1.1", (400,)),
    line("lower-case method", b"get /t{n} HTTP/1.1", (400,)),
    line("mixed-case method", b"GeT /t{n} HTTP/1.1", (400,)),
    line("NUL in the method", b"GE\x00T /t{n} HTTP/1.1", (400,)),
    line("parenthesis in the method", b"GE(T /t{n} HTTP/1.1", (400,)),
    line("no blank behind the method", b"GET/t{n} HTTP/1.1", (400,)),
    line("method of one letter", b"G /t{n} HTTP/1.1", (501,)),
    line("method of 20 letters", b"A" * 20 + b" /t{n} HTTP/1.1", OK, "A" * 20 + " /t{n}"),
    line("method of 21 letters", b"A" * 21 + b" /t{n} HTTP/1.1", (501,)),
    line("method of 7,000 letters", b"A" * 7000 + b" /t{n} HTTP/1.1", (501,)),
    line("unknown method", b"BREW /t{n} HTTP/1.1", OK, "BREW /t{n}"),
    line("method with a hyphen and an underscore", b"M-SEARCH_X /t{n} HTTP/1.1", OK, "M-SEARCH_X /t{n}"),
    line("TRACE", b"TRACE /t{n} HTTP/1.1", (405,)),
    line("CONNECT to a host", b"CONNECT h:80 HTTP/1.1", (400,)),
    line("CONNECT to a path", b"CONNECT /t{n} HTTP/1.1", (405,)),
    line("absolute form", b"GET http://h/t{n} HTTP/1.1", OK, "GET /t{n}"),
    line("absolute form in upper case", b"GET HTTP://H/t{n} HTTP/1.1", OK, "GET /t{n}"),
    line("absolute form, another host", b"GET http://other/t{n} HTTP/1.1", OK, "GET /t{n}", host="other"),
    line("absolute form, another scheme", b"GET https://h/t{n} HTTP/1.1", OK, "GET /t{n}"),
    line("absolute form with user information", b"GET http://u:p@h/t{n} HTTP/1.1", (400,)),
    line("absolute form without a host", b"GET http:///t{n} HTTP/1.1", (400,)),
    line("absolute form, port that is none", b"GET http://h:port/t{n} HTTP/1.1", (400,)),
    line("authority form", b"GET h:80 HTTP/1.1", (400,)),
    line("asterisk of a GET", b"GET * HTTP/1.1", (400,)),
    line("asterisk of OPTIONS", b"OPTIONS * HTTP/1.1", (400,)),
    line("target without a slash", b"GET t{n} HTTP/1.1", (400,)),
    line("two slashes", b"GET //evil/t{n} HTTP/1.1", OK, "GET //evil/t{n}"),
    line("dots", b"GET /a/../t{n} HTTP/1.1", OK, "GET /a/../t{n}"),
    line("dots above the root", b"GET /../t{n} HTTP/1.1", (400,)),
    line("escaped dots above the root", b"GET /%2e%2e/t{n} HTTP/1.1", (400,)),
    line("fragment", b"GET /t{n}#f HTTP/1.1", (400,)),
    line("fragment behind a query", b"GET /t{n}?a#f HTTP/1.1", (400,)),
    line("blank in the target", b"GET /t{n} x HTTP/1.1", (400,)),
    line("escape that is none", b"GET /t{n}%zz HTTP/1.1", (400,)),
    line("half an escape", b"GET /t{n}% HTTP/1.1", (400,)),
    line("escaped NUL", b"GET /t{n}%00 HTTP/1.1", (400,)),
    line("NUL in the target", b"GET /t{n}\x00 HTTP/1.1", (400,)),
    line("control in the target", b"GET /t{n}\x01 HTTP/1.1", (400,)),
    line("DEL in the target", b"GET /t{n}\x7f HTTP/1.1", (400,)),
    line("bare CR in the target", b"GET /t{n}\rX: y HTTP/1.1", (400,)),
    line("0xff in the target", b"GET /t{n}\xff HTTP/1.1", (400,)),
    line("UTF-8 in the query", "GET /t{n}?ü HTTP/1.1".encode(), (400,)),
    line("HTTP/2.0", b"GET /t{n} HTTP/2.0", (505,)),
    line("HTTP/2", b"GET /t{n} HTTP/2", (505,)),
    line("HTTP/3.0", b"GET /t{n} HTTP/3.0", (505,)),
    line("HTTP/1.2", b"GET /t{n} HTTP/1.2", (505, CANARY)),
    Case("HTTP/0.9", b"GET /t{n}\r\n", (BARE, 505)),
    Case("HTTP/0.9 with bare LF", b"GET /t{n}\n", (BARE, 505)),
    Case("HTTP/0.9 with an absolute form", b"GET http://h/t{n}\r\n", (BARE, 505)),
    line("HTTP/0.9 with header lines", b"GET /t{n}", (BARE, 505)),
    line("HTTP/0.9 with a blank behind the target", b"GET /t{n} ", (BARE, 505)),
    Case("HTTP/0.9 with another method", b"PUT /t{n}\r\n", (BARE, 400)),
    line("HTTP/0.9 with a version", b"GET /t{n} HTTP/0.9", (400,)),
    line("HTTP/1.", b"GET /t{n} HTTP/1.", (400,)),
    line("HTTP/11", b"GET /t{n} HTTP/11", (505,)),
    line("HTTP/1.1.1", b"GET /t{n} HTTP/1.1.1", (400,)),
    line("HTTP/1.10000", b"GET /t{n} HTTP/1.10000", (400,)),
    line("HTTP/ 1.1", b"GET /t{n} HTTP/ 1.1", (400,)),
    line("http in lower case", b"GET /t{n} http/1.1", (400,)),
    line("HTTPS/1.1", b"GET /t{n} HTTPS/1.1", (400,)),
    line("HTTP/1.1 and more", b"GET /t{n} HTTP/1.1 HTTP/1.1", (400,)),
    line("ICY", b"ICY 200 OK", (400,)),
    line("version with a leading zero", b"GET /t{n} HTTP/01.1", (400,)),
    line("minor version with a leading zero", b"GET /t{n} HTTP/1.01", (505, CANARY)),
    line("blank with the high bit", b"GET\xa0/t{n} HTTP/1.1", (400,)),
    line("backslashes", b"GET /a\\..\\t{n} HTTP/1.1", OK, "GET /a\\..\\t{n}"),
    line("escaped slash", b"GET /a%2ft{n} HTTP/1.1", OK, "GET /a%2ft{n}"),
    line("escaped line ends", b"GET /t{n}%0d%0aX:%20y HTTP/1.1", OK, "GET /t{n}%0d%0aX:%20y"),
    line("dots escaped twice", b"GET /%252e%252e/t{n} HTTP/1.1", OK, "GET /%252e%252e/t{n}"),
    line("dots in overlong UTF-8", b"GET /%c0%ae%c0%ae/t{n} HTTP/1.1", OK, "GET /%c0%ae%c0%ae/t{n}"),
    line("dots with a parameter", b"GET /..;/t{n} HTTP/1.1", OK, "GET /..;/t{n}"),
    line("quotes and brackets", b"GET /t{n}\"<>{}|^` HTTP/1.1", OK, 'GET /t{n}"<>{}|^`'),
    line("a thousand slashes", b"GET " + b"/" * 1000 + b"t{n} HTTP/1.1", OK, f"GET {'/' * 1000}t{{n}}"),
    line("a hundred thousand empty lines", b"\r\n" * 100_000 + b"GET /t{n} HTTP/1.1", OK, "GET /t{n}"),
    line("absolute form with a port", b"GET http://h:81/t{n} HTTP/1.1", OK, "GET /t{n}"),
    line("absolute form with an IPv6 address", b"GET http://[::1]/t{n} HTTP/1.1", OK, "GET /t{n}", host="[::1]"),
    line("absolute form without a path", b"GET http://h?t{n} HTTP/1.1", OK, "GET /?t{n}"),
    line("absolute form with a NUL", b"GET http://h\x00/t{n} HTTP/1.1", (400,)),
    line("target of 8,000 bytes", b"GET /t{n}?" + b"a" * 8000 + b" HTTP/1.1", OK, f"GET /t{{n}}?{'a' * 8000}"),
    line("target of 9,000 bytes", b"GET /t{n}?" + b"a" * 9000 + b" HTTP/1.1", (414,)),
    Case("preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400,)),
    Case("start of TLS", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + bytes(160), (400,)),
    Case("banner of SSH", b"SSH-2.0-OpenSSH_9.2\r\n", (400,)),
    Case("PROXY protocol", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET /t{n} HTTP/1.1\r\nHost: h\r\n\r\n", (400,)),
    Case("two requests", b"GET /t{n} HTTP/1.1\r\nHost: h\r\n\r\nPUT /t{n}/2 HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx",
         (200, 200, CANARY), [("GET", "/t{n}", b""), ("PUT", "/t{n}/2", b"x")]),
    Case("HTTP/1.0", b"GET /t{n} HTTP/1.0\r\nHost: h\r\n\r\n", OK_END, [("GET", "/t{n}", b"")]),
    Case("HTTP/1.0 without a host", b"GET /t{n} HTTP/1.0\r\n\r\n", OK_END, [("GET", "/t{n}", b"")], "localhost"),
]  # fmt: skip

HEADERS = [
    Case("no host", b"GET /t{n} HTTP/1.1\r\n\r\n", (400,)),
    get("two hosts", b"Host: h\r\n", (400,)),
    get("two different hosts", b"Host: evil\r\n", (400,)),
    *(
        Case(f"host {host!r}", b"GET /t{n} HTTP/1.1\r\nHost: " + host + b"\r\n\r\n", (400,))
        for host in (b"", b"a b", b"a/b", b"a\x00b", b"a\x01b", b"a\xff", b"u@h", b"h:80:80", b"h:x", b"[::1", b'a"b', b"<h>",
                     b"h:123456", b"[h]", b"[::1]h", b"h#", b"h?", b"{h}", b"h|", b"h^", b"h`", b"h\\")
    ),
    Case("host with a port", b"GET /t{n} HTTP/1.1\r\nHost: Example.com:8080\r\n\r\n", OK, [("GET", "/t{n}", b"")],
         "Example.com:8080"),
    Case("IPv6 host in upper case", b"GET /t{n} HTTP/1.1\r\nHost: [2001:DB8::1.2.3.4]:80\r\n\r\n", OK, [("GET", "/t{n}", b"")],
         "[2001:DB8::1.2.3.4]:80"),
    Case("host with all that a name may have", b"GET /t{n} HTTP/1.1\r\nHost: a.b_c~d-1!$&'()*+,;=%20\r\n\r\n", OK,
         [("GET", "/t{n}", b"")], "a.b_c~d-1!$&'()*+,;=%20"),
    Case("IPv6 host", b"GET /t{n} HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", OK, [("GET", "/t{n}", b"")], "[::1]:80"),
    Case("host of 7,000 bytes", b"GET /t{n} HTTP/1.1\r\nHost: " + b"h" * 7000 + b"\r\n\r\n", OK, [("GET", "/t{n}", b"")],
         "h" * 7000),
    Case("host of 9,000 bytes", b"GET /t{n} HTTP/1.1\r\nHost: " + b"h" * 9000 + b"\r\n\r\n", (431,)),
    # one request, which ends where the canary does
    Case("header that the canary is part of", b"GET /t{n} HTTP/1.1\r\nX: ", OK_END, [("GET", "/t{n}", b"")], "canary"),
    get("line of a blank", b" \r\n", (400,)),
    get("line of a tab", b"\t\r\n", (400,)),
    get("line of a bare CR", b"\r\r\n", (400,)),
    # Nginx takes it for one without a value
    get("no colon", b"X-Foo\r\n"),
    post("no colon behind Content-Length", b"Content-Length\r\n", FIVE, (400,)),
    post("no colon behind Transfer-Encoding", b"Transfer-Encoding\r\n", CHUNKED, (501,)),
    get("no name", b": v\r\n", (400,)),
    get("blank before the first name", b" X: v\r\n", (400,)),
    get("blank in a name", b"X Foo: v\r\n", (400,)),
    get("folded value", b"X: v\r\n w\r\n", (400,)),
    get("value folded with a tab", b"X: v\r\n\tw\r\n", (400,)),
    get("NUL in a value", b"X: a\x00b\r\n", (400,)),
    get("control in a value", b"X: a\x01b\r\n", (400,)),
    get("escape in a value", b"X: a\x1b[31m\r\n", (400,)),
    get("DEL in a value", b"X: a\x7fb\r\n", (400,)),
    get("bare CR in a value", b"X: a\rb\r\n", (400,)),
    get("0xff in a value", b"X: a\xffb\r\n"),
    get("empty value", b"X:\r\n"),
    get("name with odd characters", b"X(y): v\r\n"),
    get("name with 0xff", b"X\xff: v\r\n"),
    get("two types of content", b"Content-Type: a/b\r\nContent-Type: c/d\r\n", (400,)),
    get("Expect of a GET", b"Expect: 100-continue\r\n", (100, 200, CANARY)),
    get("Expect of something else", b"Expect: the-unexpected\r\n"),
    get("upgrade to h2c", b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n"),
    get("upgrade to a websocket", b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"),
    get("headers named by Connection", b"Connection: X-Request-Id, X-Real-IP, X-Forwarded-For, Host\r\n"),
    get("100 headers", b"".join(b"X-%d: v\r\n" % n for n in range(99))),
    get("101 headers", b"".join(b"X-%d: v\r\n" % n for n in range(100)), (431,)),
    get("header of 8,190 bytes", b"X:" + b"v" * 8188 + b"\r\n"),
    get("header of 9,000 bytes", b"X: " + b"v" * 8997 + b"\r\n", (431,)),
    get("name of 9,000 bytes", b"X" * 9000 + b": v\r\n", (431,)),
    get("header of 40,000 bytes in all", b"".join(b"X-%d: %b\r\n" % (n, b"v" * 8000) for n in range(5)), (431,)),
    get("forwarding headers", b"X-Forwarded-Ssl: on\r\nX-Forwarded-Protocol: ssl\r\nForwarded: proto=https\r\n"),
    get("names of WSGI", b"SCRIPT_NAME: /x\r\nPATH_INFO: /y\r\nREMOTE_ADDR: 1.2.3.4\r\nSCRIPT-NAME: /x\r\n"),
]  # fmt: skip

CASES = [*CONTENT_LENGTH, *TRANSFER_ENCODING, *CHUNKS, *REQUEST_LINE, *HEADERS]
