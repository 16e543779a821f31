"""The one exception that a user is meant to read, and what the system says of a disk as such a sentence."""

import errno

SURROUNDINGS = {
    errno.EACCES: "give yourself access, or choose another folder",
    errno.EPERM: "give yourself access, or choose another folder",
    errno.EROFS: "choose a folder that can be written to",
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENFILE: "close some other programs",
    errno.EIO: "check the disk",
    errno.ESTALE: "check whether its disk is still there",
    errno.ENODEV: "check whether its disk is still there",
}
"""Errors of the system that no change of the program mends, and what does."""


class UserError(Exception):
    """Bad input, told in one sentence that names the file or setting and the remedy; entries exit with code 2 on it."""


def of_surroundings(error: OSError) -> UserError | None:
    """The sentence for an error of disks, rights or limits; None for any other, which is the program's own."""
    if error.errno not in SURROUNDINGS:
        return None
    where = error.filename if isinstance(error.filename, str) else "A file"
    return UserError(f"{where} cannot be read or written ({error.strerror}): {SURROUNDINGS[error.errno]}.")
