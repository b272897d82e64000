"""The objects of the stand-in for the API of Kubernetes, with the changes that led to them."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Condition
from typing import NamedTuple

from devkit.kubernetes_kinds import BY_KIND, CLUSTER_WIDE, Object, Place


class Change(NamedTuple):
    """What happened to an object."""

    kind: str
    place: Place
    found: Object


class Store:
    """Keeps objects, and tells each change to all who wait for one."""

    def __init__(self) -> None:
        self.objects: dict[Place, Object] = {}
        self.changes: list[Change] = []
        self.changed, self.is_closing = Condition(), False

    def close_store(self) -> None:
        """Let nobody wait any longer."""
        with self.changed:
            self.is_closing = True
            self.changed.notify_all()

    def put(self, *objects: Object) -> None:
        """Create objects, or replace those of the same names."""
        for found in objects:
            resource = BY_KIND[found["apiVersion"], found["kind"]]
            meta = found["metadata"]
            namespace = "" if resource.kind in CLUSTER_WIDE else meta.get("namespace", "default")
            self.store(Place(resource, namespace, meta["name"]), found)

    def store(self, place: Place, found: Object) -> Object:
        """Keep an object at its place with a new version of it, which is returned."""
        with self.changed:
            meta = {"uid": f"{hash(place)}", "creationTimestamp": "2026-01-01T00:00:00Z"} | found["metadata"]
            meta |= {"resourceVersion": f"{len(self.changes) + 1}", "namespace": place.namespace}
            kept = found | {"metadata": meta}
            self._note("MODIFIED" if place in self.objects else "ADDED", place, kept)
            self.objects[place] = kept
        return kept

    def delete(self, kind: str, name: str, namespace: str = "default") -> None:
        """Delete an object."""
        with self.changed:
            (place,) = [
                each for each in self.objects if (each.resource.kind, *each[1:]) == (kind, namespace, name)
            ]
            self._note("DELETED", place, self.objects.pop(place))

    def _note(self, kind: str, place: Place, found: Object) -> None:
        self.changes.append(Change(kind, place, found))
        self.changed.notify_all()

    def listed(self, wanted: Place) -> list[Object]:
        """Return the objects at a place."""
        return [found for place, found in self.objects.items() if wanted.holds(place)]

    def since(self, wanted: Place, version: int) -> Iterator[Change]:
        """Yield each change at a place after *version*, until the server closes."""
        while new := self._new(version):
            version += len(new)
            yield from (change for change in new if wanted.holds(change.place))

    def _new(self, version: int) -> list[Change]:
        """Wait for changes after *version* and return them; none if the server closes."""
        with self.changed:
            self.changed.wait_for(lambda: self.is_closing or len(self.changes) > version)
            return [] if self.is_closing else self.changes[version:]
