//! PNG and JPEG files, alone or in folders with one class per sub-folder.

use std::fs;
use std::path::{Path, PathBuf};

use super::raster::Raster;
use super::{DataError, Item, Source, read_file};

/// A list of image files; each is read when it is asked for.
pub(super) struct Folder {
    files: Vec<(PathBuf, Option<usize>)>,
    root: PathBuf,
}

impl Folder {
    /// One image without a label.
    pub(super) fn single(path: &Path) -> Self {
        let root = path.parent().unwrap_or(Path::new("")).to_owned();
        Self { files: vec![(path.to_owned(), None)], root }
    }

    /// All images below `root`, sorted by path. Those in a sub-folder have its class: the number it is named by if
    /// all sub-folders are named by numbers, else its position in the alphabet. Those in `root` itself have none.
    ///
    /// # Errors
    /// [`DataError`] if a folder cannot be listed or holds more than [`MAX_FILES`] files.
    pub(super) fn open(root: &Path) -> Result<Self, DataError> {
        let (images, folders) = list(root)?;
        let mut files: Vec<_> = images.into_iter().map(|path| (path, None)).collect();
        let numbers: Option<Vec<usize>> = folders.iter().map(|path| number(path)).collect();
        for (position, folder) in folders.iter().enumerate() {
            let class = numbers.as_ref().map_or(Some(position), |numbers| numbers.get(position).copied());
            collect(folder, class, 1, &mut files)?;
        }
        Ok(Self { files, root: root.to_owned() })
    }
}

impl Source for Folder {
    fn len(&self) -> usize {
        self.files.len()
    }

    fn read(&self, index: usize) -> Result<Item, DataError> {
        let (path, label) =
            self.files.get(index).ok_or_else(|| DataError::Empty { path: self.root.clone() })?;
        let bytes = read_file(path, MAX_IMAGE_BYTES)?;
        let raster = Raster::decode(&bytes).map_err(|error| DataError::malformed(path, error))?;
        let name = path.strip_prefix(&self.root).unwrap_or(path).display().to_string();
        Ok(Item { raster, label: *label, name })
    }
}

fn number(folder: &Path) -> Option<usize> {
    folder.file_name()?.to_str()?.parse().ok()
}

fn collect(
    folder: &Path,
    class: Option<usize>,
    depth: usize,
    files: &mut Vec<(PathBuf, Option<usize>)>,
) -> Result<(), DataError> {
    if depth > MAX_DEPTH {
        return Err(DataError::malformed(folder, format!("folders are nested deeper than {MAX_DEPTH}")));
    }
    let (images, folders) = list(folder)?;
    files.extend(images.into_iter().map(|path| (path, class)));
    if files.len() > MAX_FILES {
        return Err(DataError::malformed(folder, format!("more than {MAX_FILES} images")));
    }
    folders.iter().try_for_each(|inner| collect(inner, class, depth + 1, files))
}

/// Images and sub-folders of one folder, each sorted. Links to folders are not followed.
fn list(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), DataError> {
    let (mut images, mut folders) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder).map_err(DataError::io(folder))? {
        let entry = entry.map_err(DataError::io(folder))?;
        let path = entry.path();
        if entry.file_type().map_err(DataError::io(&path))?.is_dir() {
            folders.push(path);
        } else if is_image_name(&path) {
            images.push(path);
        }
    }
    images.sort();
    folders.sort();
    Ok((images, folders))
}

fn is_image_name(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    ["png", "jpg", "jpeg"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}

const MAX_FILES: usize = 2_000_000;
const MAX_DEPTH: usize = 16;
/// Largest image file that is read.
const MAX_IMAGE_BYTES: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn tree(paths: &[&str]) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        for path in paths {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            image::GrayImage::new(1, 1).save(&path).unwrap();
        }
        dir
    }

    fn listing(dir: &TempDir) -> Vec<(String, Option<usize>)> {
        let folder = Folder::open(dir.path()).unwrap();
        (0..folder.len()).map(|i| folder.read(i).map(|item| (item.name, item.label)).unwrap()).collect()
    }

    #[test]
    fn classes_by_alphabet_and_recursion() {
        let dir = tree(&["dog/b.png", "dog/a.JPG", "cat/deep/er/x.jpeg", "loose.png"]);
        fs::write(dir.path().join("dog/notes.txt"), "not an image").unwrap();
        let expected = [
            ("loose.png", None),
            ("cat/deep/er/x.jpeg", Some(0)),
            ("dog/a.JPG", Some(1)),
            ("dog/b.png", Some(1)),
        ];
        assert_eq!(listing(&dir), expected.map(|(name, label)| (name.to_owned(), label)));
    }

    #[test]
    fn numbered_folders_are_their_numbers() {
        let dir = tree(&["10/a.png", "2/a.png"]);
        assert_eq!(listing(&dir), [("10/a.png".to_owned(), Some(10)), ("2/a.png".to_owned(), Some(2))]);
    }

    #[test]
    fn bad_files_are_named() {
        let dir = tree(&["a.png"]);
        let bad = dir.path().join("b.png");
        fs::write(&bad, "not a png").unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        assert!(folder.read(0).is_ok());
        assert!(matches!(folder.read(1), Err(DataError::Malformed { path, .. }) if path == bad));
        assert!(Folder::single(&dir.path().join("gone.png")).read(0).is_err());
    }

    #[test]
    fn too_deep() {
        let dir = tempfile::tempdir().unwrap();
        let deep = (0..MAX_DEPTH + 1).fold(dir.path().to_owned(), |path, _| path.join("d"));
        fs::create_dir_all(deep).unwrap();
        assert!(matches!(Folder::open(dir.path()), Err(DataError::Malformed { .. })));
    }
}
