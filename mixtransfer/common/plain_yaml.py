"""YAML from anywhere: plain values only, no objects, and no references that make a small file huge."""

import yaml


class _PlainLoader(yaml.SafeLoader):
    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("references such as *name are not read: write the value out")
        return super().compose_node(parent, index)


def load_plain_yaml(text: str) -> object:
    """What ``yaml.safe_load`` gives, without references.

    Raises:
        ValueError: It is not YAML, nested too deeply or has references; the message is one line.
    """
    return _load(text, _PlainLoader)


def _load(text: str, loader: type[_PlainLoader]) -> object:
    try:
        return yaml.load(text, loader)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except Exception as error:  # odd dates and numbers make the constructors raise this and that
        raise ValueError(" ".join(str(error).split())) from error


class _TextLoader(_PlainLoader):
    """Leaves every value as it is written, so that the class ``no`` is no truth value and 007 no number."""

    yaml_implicit_resolvers: dict = {}


def load_plain_texts(text: str) -> object:
    """As ``load_plain_yaml``, but every value that is no list or mapping is the text that stands there.

    Raises:
        ValueError: As there.
    """
    return _load(text, _TextLoader)
