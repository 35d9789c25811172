"""Reads typed values from the environment and says what is wrong with the ones it cannot use."""

import ipaddress
import re
from collections.abc import Iterable, Mapping

_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


class SettingError(ValueError):
    """A variable has a value that cannot be used; the message names it, the value and what is allowed."""

    def __init__(self, name: str, value: str, allowed: str) -> None:
        super().__init__(f"{name}={value!r} cannot be used; allowed: {allowed}")


class Environment:
    """Typed access to environment variables. An unset variable and an empty one mean the same: the default."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def text(
        self, *names: str, default: str = "", pattern: str = r"[\x20-\x7e]*", allowed: str = "printable ASCII"
    ) -> str:
        """The first of `names` that is set, matched whole against `pattern`; otherwise `default`."""
        for name in names:
            value = self._variables.get(name, "").strip()
            if value:
                if not re.fullmatch(pattern, value):
                    raise SettingError(name, value, allowed)
                return value
        return default

    def integer(self, *names: str, default: int, low: int, high: int) -> int:
        """A whole number from `low` to `high`."""
        allowed = f"a whole number from {low} to {high}"
        value = self.text(*names, pattern=r"[0-9]{1,18}", allowed=allowed)
        if value and not low <= int(value) <= high:
            raise SettingError(self._name(names), value, allowed)
        return int(value) if value else default

    def size(self, *names: str, default: str, low: int, high: int) -> int:
        """A size in bytes, written as Nginx does: a number with an optional k, m or g (powers of 1024)."""
        allowed = f"a size such as 512k, 1m or 2g, from {low} to {high} bytes"
        value = self.text(*names, default=default, pattern=r"[0-9]{1,12}[kKmMgG]?", allowed=allowed).lower()
        unit = value[-1] if value[-1] in _UNITS else ""
        number = int(value.removesuffix(unit)) * _UNITS[unit]
        if not low <= number <= high:
            raise SettingError(self._name(names), value, allowed)
        return number

    def choice(self, name: str, default: str, choices: Iterable[str]) -> str:
        """One of `choices`, compared without regard to case, returned in lower case."""
        allowed = ", ".join(choices)
        value = self.text(name, default=default, allowed=allowed)
        if value.lower() not in choices:
            raise SettingError(name, value, allowed)
        return value.lower()

    def words(self, name: str, default: str, pattern: str, allowed: str) -> list[str]:
        """A list separated by commas or white space, each word matched whole against `pattern`."""
        value = self.text(name, default=default, allowed=allowed)
        words = re.split(r"[\s,]+", value.strip(", ")) if value.strip(", ") else []
        for word in words:
            if not re.fullmatch(pattern, word):
                raise SettingError(name, value, allowed)
        return words

    def networks(self, name: str) -> list[str]:
        """A list of networks in CIDR notation; a single address is a network of one."""
        allowed = "a comma-separated list of networks such as 10.0.0.0/16, without host bits"
        words = self.words(name, default="", pattern=r"[0-9A-Fa-f:./]+", allowed=allowed)
        try:
            return [str(ipaddress.ip_network(word)) for word in words]
        except ValueError:
            raise SettingError(name, ",".join(words), allowed) from None

    def max_body_size(self) -> int:
        """MAX_BODY_SIZE in bytes: Nginx and the application refuse larger bodies with 413."""
        return self.size("MAX_BODY_SIZE", "NGINX_MAX_UPLOAD", default="1m", low=1024, high=1024**4)

    def cors_origins(self) -> list[str]:
        """CORS_ORIGINS: `*`, or the origins whose scripts may call the API (the Fetch standard's CORS protocol)."""
        return self.words(
            "CORS_ORIGINS",
            default="*",
            # as browsers send them, or none would ever match
            pattern=r"\*|(https://(?!.*:443$)|http://(?!.*:80$))[a-z0-9.:\[\]-]+",
            allowed="* or a comma-separated list of origins such as https://example.com, lower case, no :443 or :80",
        )

    def _name(self, names: tuple[str, ...]) -> str:
        return next(name for name in names if self._variables.get(name, "").strip())
