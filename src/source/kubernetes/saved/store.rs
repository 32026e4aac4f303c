//! The file: its read, and the write that replaces it as a whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::file;

/// The rights to the file: only its owner may read or write it.
const MODE: u32 = 0o600;
/// The rights that nobody but the owner may have.
const OTHERS: u32 = 0o077;
/// The bytes of one write.
const BUFFER: usize = 64 * 1024;

/// Reads the file; `None` if there is none.
///
/// # Errors
/// It cannot be read, has more than `max_size` bytes, or somebody else may have written it.
pub(in crate::source::kubernetes) fn read(
    path: &Path,
    max_size: usize,
) -> io::Result<Option<Vec<u8>>> {
    let refused = |text| Err(io::Error::new(ErrorKind::InvalidData, text));
    // A symlink is not followed: it is none of ours.
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !meta.is_file() {
        return refused("it is not a regular file");
    }
    if meta.uid() != rustix::process::geteuid().as_raw() || meta.mode() & OTHERS != 0 {
        return refused("it belongs to somebody else, or others may write it");
    }
    let (bytes, _) = file::read(path, max_size.saturating_add(1))?;
    if bytes.len() > max_size {
        return refused("it is larger than `max_size`");
    }
    Ok(Some(bytes))
}

/// Replaces the file by one that `content` writes. A process that ends in the middle leaves the old file as
/// it was.
///
/// # Errors
/// A write fails, or `content` does. The old file stays.
pub(in crate::source::kubernetes) fn write<T>(
    path: &Path,
    content: impl FnOnce(&mut BufWriter<File>) -> io::Result<T>,
) -> io::Result<T> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    // Left by a process that ended in the middle.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let done = write_new(&beside, content).and_then(|written| {
        fs::rename(&beside, path)?;
        Ok(written)
    });
    if done.is_err() {
        let _ = fs::remove_file(&beside);
    }
    let done = done?;
    // The file is complete in any case; without this a crash of the machine may bring back the old one.
    if let Some(folder) = path.parent().filter(|folder| *folder != Path::new("")) {
        File::open(folder)?.sync_all()?;
    }
    Ok(done)
}

fn write_new<T>(
    path: &Path,
    content: impl FnOnce(&mut BufWriter<File>) -> io::Result<T>,
) -> io::Result<T> {
    // Never an existing file, nor one that a symlink names.
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(MODE)
        .open(path)?;
    let mut writer = BufWriter::with_capacity(BUFFER, file);
    let written = content(&mut writer)?;
    writer.flush()?;
    writer.get_ref().sync_all()?;
    Ok(written)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::file::test_folder::TestFolder;

    /// The file of the state in a folder.
    fn state_in(folder: &TestFolder) -> PathBuf {
        folder.path().join("state")
    }

    fn put(path: &Path, text: &str) {
        write(path, |to| to.write_all(text.as_bytes())).unwrap();
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_a_failed_write_leaves_the_old_one() {
        let folder = TestFolder::create();
        let path = state_in(&folder);
        assert_eq!(read(&path, 100).unwrap(), None);
        put(&path, "one");
        put(&path, "two");
        // As a process leaves it that ends in the middle.
        folder.write("state.new", "thr");
        put(&path, "three");
        let failed = write(&path, |to| {
            to.write_all(b"half of fo")?;
            Err::<(), _>(io::Error::other("on purpose"))
        });
        assert!(failed.is_err());
        assert_eq!(read(&path, 5).unwrap().unwrap(), b"three");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        let names = fs::read_dir(folder.path()).unwrap();
        assert_eq!(names.count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_file_that_is_too_large_or_not_only_ours_is_not_read() {
        let folder = TestFolder::create();
        let path = state_in(&folder);
        put(&path, "12345");
        let refusal = |path: &Path, most| read(path, most).unwrap_err().to_string();
        assert!(refusal(&path, 4).contains("larger than"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o620)).unwrap();
        assert!(refusal(&path, 5).contains("somebody else"));
        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(refusal(&link, 5).contains("not a regular file"));
        assert!(refusal(folder.path(), 5).contains("not a regular file"));
        assert!(write(Path::new("/proc/strait"), |_| Ok(())).is_err());
    }

    #[test]
    fn a_symlink_in_the_way_of_the_new_file_is_removed_and_not_followed() {
        let folder = TestFolder::create();
        let victim = folder.path().join("victim");
        fs::write(&victim, "untouched").unwrap();
        symlink(&victim, folder.path().join("state.new")).unwrap();
        put(&state_in(&folder), "text");
        assert_eq!(fs::read(&victim).unwrap(), b"untouched");
        assert_eq!(read(&state_in(&folder), 10).unwrap().unwrap(), b"text");
    }
}
