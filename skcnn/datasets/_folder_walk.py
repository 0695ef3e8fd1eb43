"""What lies in a folder of images, with nothing read twice and nothing passed over in silence."""

import os
from collections import deque

# What images are named; files of other names are reported, and not opened.
SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
    *(".webp", ".ppm", ".pgm", ".pbm", ".pnm"),
}


class FolderWalk:
    """Finds images below `root`, and says of everything else why it is none.

    A link is followed after everything that is no link, and only to what was not read before.

    Parameters
    ----------
    root : str
        Absolute path.
    follow_links : bool
        Follow links that lead out of `root` too.

    Attributes
    ----------
    ignored : dict
        Path → why it is not taken for an image.
    unreadable : dict
        Path of a folder → why it cannot be read.
    """

    def __init__(self, root, follow_links):
        self.ignored = {}
        self.unreadable = {}
        self._root = os.path.realpath(root)
        self._follow_links = follow_links
        self._read = {self._root}  # real paths of all folders and images so far

    def folders_in(self, folder):
        """Find the folders in a folder, by their names; they are not read here.

        Returns
        -------
        folders : dict
            Name → path, in order of the names.
        """
        with os.scandir(folder) as entries:
            # Links last.
            entries = sorted(entries, key=lambda entry: (entry.is_symlink(), entry.name))
        folders = {}
        for entry in entries:
            if entry.name.startswith("."):
                self.ignored[entry.path] = "hidden"
            elif not entry.is_dir():
                self.ignored[entry.path] = "not in the folder of a class"
            elif not (entry.is_symlink() and self._is_refused(entry.path)):
                self._read.add(os.path.realpath(entry.path))
                folders[entry.name] = entry.path
        return dict(sorted(folders.items()))

    @staticmethod
    def holds_folders(folder):
        """Whether there are folders in a folder, or links to some, that are not hidden."""
        try:
            with os.scandir(folder) as entries:
                return any(entry.is_dir() and not entry.name.startswith(".") for entry in entries)
        except OSError:  # which the walk through it reports
            return False

    def images_in(self, folders):
        """Find the images in folders, and in the folders in these.

        Parameters
        ----------
        folders : dict
            Any key → path of a folder.

        Returns
        -------
        images : dict
            The same keys → list of paths of images, in order.
        """
        found = {key: [] for key in folders}
        links = deque()
        for key, folder in folders.items():
            self._walk(folder, found[key], links)
        while links:
            path, images = links.popleft()
            if self._is_refused(path):
                continue
            if os.path.isdir(path):
                self._walk(path, images, links)
            else:
                self._take(path, os.path.realpath(path), images)
        return {key: sorted(images) for key, images in found.items()}

    def _walk(self, folder, images, links):
        for parent, folders, files in os.walk(folder, onerror=self._note_unreadable):
            real_parent = os.path.realpath(parent)
            self._read.add(real_parent)
            entries = [(name, False) for name in folders] + [(name, True) for name in files]
            for name, is_file in sorted(entries):
                path = os.path.join(parent, name)
                if name.startswith("."):
                    self.ignored[path] = "hidden"
                elif os.path.islink(path):
                    links.append((path, images))
                elif is_file:
                    self._take(path, os.path.join(real_parent, name), images)
            # Links among them are not followed by os.walk.
            folders[:] = [
                name
                for name in folders
                if not name.startswith(".") and os.path.join(real_parent, name) not in self._read
            ]

    def _take(self, path, real_path, images):
        if os.path.splitext(path)[1].lower() not in SUFFIXES:
            self.ignored[path] = "not named like an image"
        elif real_path not in self._read:
            self._read.add(real_path)
            images.append(path)

    def _is_refused(self, link):
        """Whether a link is not to be followed; if so, say why in `ignored`."""
        target = os.path.realpath(link)
        if not self._follow_links and os.path.commonpath([target, self._root]) != self._root:
            self.ignored[link] = "a link out of the folder, which follow_links=True would follow"
        elif target in self._read:
            self.ignored[link] = "a link to what is read anyway"
        return link in self.ignored

    def _note_unreadable(self, error):
        self.unreadable[error.filename] = error.strerror
