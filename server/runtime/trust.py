"""Whose code runs: files that only the owner of the site's folder, who runs it, or root can write."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Container
from pathlib import Path


def why_untrusted(path: Path, root: Path) -> str:
    """Why the file at `path`, inside the folder `root`, may hold somebody else's code; empty when it may not. OSError."""
    trusted = {0, os.geteuid(), root.stat().st_uid}
    for place in (path, *(p for p in path.parents if p == root or root in p.parents)):
        if problem := _problem(place.stat(), trusted):
            return f"{place} {problem}"
    return ""


def _problem(found: os.stat_result, trusted: Container[int]) -> str:
    if found.st_uid not in trusted:
        return f"belongs to user {found.st_uid}, not to the owner of the site"
    if found.st_mode & stat.S_IWOTH:
        return "may be written by everybody: `chmod o-w` it, and look who did"
    if found.st_mode & stat.S_IWGRP and not _is_private(found.st_gid, found.st_uid):
        return "may be written by its group: `chmod g-w` it, and look who did"
    return ""


def _is_private(group: int, user: int) -> bool:
    """True for the group that only this user is in, and for root's."""
    if group == 0:
        return True
    try:
        owner, members = pwd.getpwuid(user), grp.getgrgid(group).gr_mem
    except KeyError:
        return False
    return owner.pw_gid == group and set(members) <= {owner.pw_name}
