"""Where rollouts and latents lie: Zarr stores beside the records, or at any address of fsspec.

`awm store s3://bucket/folder` says so for a profile. Only the process that collects or trains reads
and writes there; what other machines compute comes back as data.
"""

import zarr

from awm import store
from awm.errors import AwmError
from awm.store import Workspace


def address(ws: Workspace, name: str) -> str:
    """The address of a store of arrays, such as `rollouts.zarr`."""
    said = ws.own / store.ARRAYS
    place = store.read_json(said)["address"] if said.exists() else ws.own
    return f"{place}/{name}"


def keep_at(ws: Workspace, place: str) -> None:
    """Let a profile's stores of arrays lie at an address, `s3://bucket/folder` or a folder.

    Raises:
        AwmError: if some lie in the profile's folder already, or nothing can be written there.
    """
    if left := sorted(path.name for path in ws.own.glob("*.zarr")):
        raise AwmError(f"{', '.join(left)} in {ws.own} would be left behind. Move them away first.")
    place = place.rstrip("/")
    opened(f"{place}/.awm", "w")
    store.write_json(ws.own / store.ARRAYS, {"address": place})


def exists(place: str) -> bool:
    """Whether there is anything at an address, whole or damaged."""
    try:
        _reached(place, "r")
    except FileNotFoundError:
        return False
    except AwmError:
        raise
    except Exception:  # which `opened` tells of
        return True
    return True


def opened(place: str, mode: str = "r") -> zarr.Group:
    """The group at an address; `mode` as for Zarr. AwmError if it is damaged or out of reach."""
    if "://" not in place:
        with store.reading(place):
            return _reached(place, mode)
    try:
        return _reached(place, mode)
    except AwmError:
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__} {error}".split())[:200]
        raise AwmError(
            f"{place} cannot be reached or read ({reason}). Check the address and the rights to it."
        ) from error


def _reached(place: str, mode: str) -> zarr.Group:
    try:
        return zarr.open_group(place, mode=mode)
    except ImportError as error:
        raise AwmError(
            f"{place} needs a library that is not installed: {error}. For S3 that is "
            "`pip install 'awm[s3]'`."
        ) from None
