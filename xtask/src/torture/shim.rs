//! The preload shims of `shim/`, compiled here, and how a process is put under that of power losses.

use anyhow::{Context, bail};
use rand::RngExt;
use rand::rngs::StdRng;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/shim");

/// What of the unsynced writes is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    All,
    Pages,
    Sectors,
}

impl Mode {
    /// As the shim reads it.
    pub fn word(self) -> &'static str {
        match self {
            Mode::All => "all",
            Mode::Pages => "pages",
            Mode::Sectors => "sectors",
        }
    }
}

/// One loss of power.
#[derive(Debug, Clone, Copy)]
pub struct Loss {
    pub mode: Mode,
    /// At which operation that changes a file.
    pub at: u64,
    seed: u64,
}

impl Loss {
    /// Any mode. Half of the losses come anywhere up to the latest operation, half crowd at the start, where recovery and schema are: as
    /// many within the first ten operations as within the next hundred.
    pub fn random(random: &mut StdRng, latest: u64) -> Self {
        let mode = [Mode::All, Mode::Pages, Mode::Sectors][random.random_range(0..3)];
        let early = (latest as f64).powf(random.random_range(0.0..1.0)) as u64;
        let at = if random.random_bool(0.5) { early } else { random.random_range(1..=latest) };
        Loss { mode, at, seed: random.random() }
    }
}

/// The compiled shim.
pub struct Shim {
    library: PathBuf,
}

impl Shim {
    /// Compiles it into a folder.
    pub fn compile(folder: &Path) -> anyhow::Result<Self> {
        Ok(Shim { library: compile(folder, "power")? })
    }

    /// Puts a process to come under the shim: instead of losing power, so many operations on the files of a folder fail.
    pub fn arm_error(&self, command: &mut Command, folder: &Path, loss: Loss, error: &str, count: u64) {
        self.arm(command, folder, loss);
        command.env("POWER_ERROR", error).env("POWER_ERRORS", count.to_string());
    }

    /// Puts a process to come under the shim: it will lose power on the files of a folder.
    pub fn arm(&self, command: &mut Command, folder: &Path, loss: Loss) {
        command.env("LD_PRELOAD", &self.library).env("POWER_DIR", folder).env("POWER_MODE", loss.mode.word());
        command.env("POWER_AT", loss.at.to_string()).env("POWER_SEED", loss.seed.to_string());
    }
}

/// Compiles a shim into a folder; the library.
pub fn compile(folder: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let (library, source) = (folder.join(format!("{name}.so")), Path::new(SOURCES).join(format!("{name}.c")));
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-O2", "-pthread", "-o"])
        .args([&library, &source])
        .status()
        .context("cc could not be run: install a C compiler")?;
    if !status.success() {
        bail!("{} does not compile", source.display());
    }
    Ok(library)
}

/// Removes the mapped memory that a loss of power takes too.
pub fn drop_shared_memory(database: &Path) {
    let mut path = database.as_os_str().to_owned();
    path.push("-shm");
    let _ = std::fs::remove_file(path);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::was_killed;
    use std::fs;

    const PAGE: usize = 4096;

    /// A folder with a file `f` of 16 pages of `a`, durable because it was there before.
    struct Ground {
        scratch: tempfile::TempDir,
        shim: Shim,
    }

    impl Ground {
        fn new() -> Self {
            let scratch = tempfile::tempdir().unwrap();
            fs::create_dir(scratch.path().join("in")).unwrap();
            let ground = Ground { shim: Shim::compile(scratch.path()).unwrap(), scratch };
            ground.restore();
            ground
        }

        fn restore(&self) {
            fs::write(self.path("f"), vec![b'a'; 16 * PAGE]).unwrap();
        }

        fn path(&self, name: &str) -> PathBuf {
            self.scratch.path().join("in").join(name)
        }

        /// Runs a command in the folder under the shim; whether it lost power.
        fn run(&self, mode: Mode, at: u64, seed: u64, words: &str) -> bool {
            let mut words = words.split(' ');
            let mut command = Command::new(words.next().unwrap());
            command.args(words).current_dir(self.path("")).stderr(std::process::Stdio::null());
            self.shim.arm(&mut command, &self.path(""), Loss { mode, at, seed });
            was_killed(command.status().unwrap())
        }

        /// The file, a letter for each run of equal bytes of this length: `a` as before, `0` new, `?` torn within.
        fn pieces(&self, length: usize) -> String {
            let bytes = fs::read(self.path("f")).unwrap();
            let letter = |piece: &[u8]| match piece {
                piece if piece.iter().all(|byte| *byte == b'a') => 'a',
                piece if piece.iter().all(|byte| *byte == 0) => '0',
                _ => '?',
            };
            bytes.chunks(length).map(letter).collect()
        }
    }

    const OVERWRITE: &str = "dd if=/dev/zero of=f bs=4096 count=16 conv=notrunc";

    #[test]
    fn what_was_not_synced_is_taken_back_and_what_was_synced_stays() {
        let ground = Ground::new();
        assert!(ground.run(Mode::All, 16, 1, OVERWRITE));
        assert_eq!(ground.pieces(PAGE), "a".repeat(16));
        // The 17th operation is the sync: power goes before it counts. There is no 18th.
        let synced = format!("{OVERWRITE},fsync");
        assert!(ground.run(Mode::All, 17, 1, &synced));
        assert_eq!(ground.pieces(PAGE), "a".repeat(16));
        assert!(!ground.run(Mode::All, 18, 1, &synced));
        assert_eq!(ground.pieces(PAGE), "0".repeat(16));
    }

    #[test]
    fn a_write_behind_a_sync_is_taken_back_to_that_sync() {
        let ground = Ground::new();
        // Writes chance, syncs, writes zeros: power goes at the zeros.
        assert!(ground.run(Mode::All, 3, 1, "shred -n 1 -z -x f"));
        assert_eq!(ground.pieces(PAGE), "?".repeat(16));
    }

    #[test]
    fn pages_and_sectors_are_taken_back_by_chance_and_pages_are_never_torn() {
        let ground = Ground::new();
        for (mode, piece) in [(Mode::Pages, PAGE), (Mode::Sectors, 512)] {
            let (mut seen, mut torn_pages) = (std::collections::BTreeSet::new(), 0);
            for seed in 0..8 {
                ground.restore();
                assert!(ground.run(mode, 16, seed, OVERWRITE));
                let pieces = ground.pieces(piece);
                assert!(pieces.contains('a') && pieces.contains('0') && !pieces.contains('?'), "{pieces}");
                torn_pages += ground.pieces(PAGE).matches('?').count();
                seen.insert(pieces);
            }
            assert!(seen.len() > 4, "{seen:?}");
            assert_eq!(torn_pages > 0, mode == Mode::Sectors);
        }
    }

    #[test]
    fn a_file_that_was_cut_or_grew_has_its_length_again() {
        let ground = Ground::new();
        for (at, grown_or_cut) in
            [(1, "dd if=/dev/zero of=f bs=1 count=1"), (1, "dd if=/dev/zero of=f bs=4096 count=4 seek=20 conv=notrunc")]
        {
            assert!(ground.run(Mode::All, at, 1, grown_or_cut), "{grown_or_cut}");
            assert_eq!(ground.pieces(PAGE), "a".repeat(16), "{grown_or_cut}");
        }
    }

    #[test]
    fn names_that_were_made_removed_or_changed_are_as_before() {
        let ground = Ground::new();
        fs::write(ground.path("g"), "g").unwrap();
        for (at, words) in [(2, "dd if=/dev/zero of=new bs=512 count=1"), (1, "rm -f f"), (1, "mv f other"), (1, "mv -f f g")] {
            assert!(ground.run(Mode::All, at, 1, words), "{words}");
            let mut names: Vec<_> = fs::read_dir(ground.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            assert_eq!(names, ["f", "g"], "{words}");
            assert_eq!((ground.pieces(PAGE), fs::read(ground.path("g")).unwrap()), ("a".repeat(16), b"g".to_vec()), "{words}");
        }
    }

    #[test]
    fn a_file_elsewhere_is_left_alone() {
        let ground = Ground::new();
        assert!(!ground.run(Mode::All, 1, 1, "dd if=/dev/zero of=../outside bs=512 count=1"));
        assert_eq!(fs::read(ground.scratch.path().join("outside")).unwrap().len(), 512);
    }
}
