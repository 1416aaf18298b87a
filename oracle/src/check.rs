//! Regenerates goldens, twice or in two parts, and compares.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context, Result, bail, ensure};
use verbatim_harness::golden::{ANY_MACHINE, FileRecord, Manifest};

use crate::{
    checkout::Checkout,
    record::{CONVERTED_FILE, Part, read_converted, write_converted},
    report,
};

type Files = BTreeMap<String, FileRecord>;

/// Lines of a generation that failed which are told again.
const LAST_LINES: usize = 12;

/// How often everything is generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// By one process for each half of the models.
    Once,
    /// By two processes, each of which generates all.
    Twice,
}

/// Whether fresh generations equal each other and what is committed; differences are reported.
///
/// # Errors
/// When a generation fails.
pub fn run(checkout: &Checkout, filter: Option<&str>, times: Times) -> Result<bool> {
    let scratch = tempfile::tempdir().context("making a scratch folder")?;
    let generations = [("first", 1), ("second", 2)].map(|(name, index)| Generation {
        name,
        folder: scratch.path().join(name),
        filter,
        part: (times == Times::Once).then_some(Part { index, count: 2 }),
    });
    report("two processes, side by side");
    let [first, second] = thread::scope(|scope| {
        let running = generations.each_ref().map(|g| scope.spawn(|| g.run()));
        running.map(|thread| thread.join().unwrap_or_else(|_| bail!("a generation panicked")))
    });
    let (first, second) = (first?, second?);
    let mut problems = Vec::new();
    let fresh = match times {
        Times::Once => {
            let golden = generations.each_ref().map(|g| g.folder.join("golden"));
            union(&golden, first, second, &mut problems)?
        }
        Times::Twice => {
            problems.extend(compare("the second generation", &first, &second));
            first
        }
    };
    let golden = checkout.root.join("golden");
    let mut committed = Manifest::scan(&golden)?;
    problems.extend(Manifest::read(&golden)?.differences(&committed));
    committed.files.retain(|name, _| belongs(name, &fresh, filter.is_some()));
    problems.extend(compare("what is committed", &fresh, &committed.files));
    for problem in &problems {
        report(problem);
    }
    report(&format!(
        "{} files generated {}, {} committed ones compared, {} differences",
        fresh.len(),
        if times == Times::Once { "once" } else { "twice" },
        committed.files.len(),
        problems.len()
    ));
    Ok(problems.is_empty())
}

/// Generates in a process and with models of its own.
struct Generation<'a> {
    name: &'static str,
    folder: PathBuf,
    filter: Option<&'a str>,
    part: Option<Part>,
}

impl Generation<'_> {
    fn run(&self) -> Result<Files> {
        let golden = self.folder.join("golden");
        let mut command = Command::new(std::env::current_exe().context("this executable's path")?);
        command.arg("golden").arg("--out").arg(&golden);
        command.arg("--models").arg(self.folder.join("models"));
        if let Some(filter) = self.filter {
            command.args(["--filter", filter]);
        }
        if let Some(part) = self.part {
            command.args(["--part", &part.to_string()]);
        }
        watch(command).with_context(|| format!("the {} generation failed", self.name))?;
        let mut files = Manifest::scan(&golden)?.files;
        if self.filter.is_some() {
            // It lists the converted models of every case.
            files.retain(|name, _| !name.ends_with(CONVERTED_FILE));
        }
        Ok(files)
    }
}

/// Runs a command to its end and passes on what it says.
///
/// # Errors
/// How it failed, and the last of what it said.
#[allow(clippy::print_stderr)] // the lines are its own
fn watch(mut command: Command) -> Result<()> {
    let mut process = command.stderr(Stdio::piped()).spawn().context("starting a generation")?;
    let said = process.stderr.take().context("it cannot be heard")?;
    let mut last = VecDeque::new();
    for line in BufReader::new(said).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).into_owned();
        eprintln!("{line}");
        last.push_back(line);
        if last.len() > LAST_LINES {
            last.pop_front();
        }
    }
    let status = process.wait().context("waiting for a generation")?;
    let last = last.make_contiguous().join("\n");
    ensure!(status.success(), "{status}; it said last:\n{last}");
    Ok(())
}

/// Two parts as one. What neither should have alone is put together in the first one's folder; what
/// both have otherwise is a problem.
fn union(
    golden: &[PathBuf; 2],
    mut first: Files,
    mut second: Files,
    problems: &mut Vec<String>,
) -> Result<Files> {
    let lists = |files: &Files| files.keys().find(|n| n.ends_with(CONVERTED_FILE)).cloned();
    if let (Some(name), Some(other)) = (lists(&first), lists(&second)) {
        let mut converted = read_converted(&golden[0].join(&name))?;
        converted.extend(read_converted(&golden[1].join(&other))?);
        write_converted(&golden[0].join(&name), &converted)?;
        let mut scanned = Manifest::scan(&golden[0])?.files;
        first.extend(scanned.remove_entry(&name));
        second.remove(&other);
    }
    problems.extend(
        second
            .keys()
            .filter(|name| first.contains_key(*name))
            .map(|name| format!("both parts have {name}")),
    );
    first.extend(second);
    Ok(first)
}

/// Whether a committed file should have been generated: the same machine's or no machine's. Templates
/// outside the checkout may be absent, and a filter leaves out most.
fn belongs(name: &str, generated: &Files, filtered: bool) -> bool {
    if generated.contains_key(name) {
        return true;
    }
    let machine = generated.keys().filter_map(|n| n.split('/').next()).find(|m| *m != ANY_MACHINE);
    !filtered && name.split('/').next() == machine
}

fn compare(what: &str, first: &Files, other: &Files) -> Vec<String> {
    let left = Manifest { files: first.clone() };
    let right = Manifest { files: other.clone() };
    left.differences(&right).into_iter().map(|line| format!("{what}: {line}")).collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::record::Converted;

    fn files(names: &[&str]) -> Files {
        let record = |name: &str| FileRecord { sha256: format!("digest of {name}"), bytes: 1 };
        names.iter().map(|name| ((*name).to_owned(), record(name))).collect()
    }

    #[test]
    fn only_this_machines_files_are_expected() {
        let generated = files(&["linux-cpu/s/a.safetensors", "any/tokens/x.json"]);
        assert!(belongs("linux-cpu/s/gone.safetensors", &generated, false));
        assert!(!belongs("macos-metal/s/a.safetensors", &generated, false));
        assert!(!belongs("any/templates/not-here.json", &generated, false));
        assert!(!belongs("linux-cpu/s/gone.safetensors", &generated, true));
        assert!(belongs("any/tokens/x.json", &generated, true));
    }

    #[test]
    fn every_kind_of_difference_is_a_line() {
        let first = files(&["m/a", "m/b"]);
        let mut other = files(&["m/a", "m/c"]);
        other.get_mut("m/a").unwrap().bytes = 2;
        let lines = compare("x", &first, &other);
        assert_eq!(lines, ["x: m/a differs", "x: m/b is missing", "x: m/c is not listed"]);
        assert!(compare("x", &first, &first).is_empty());
    }

    #[test]
    fn parts_become_one_with_all_converted_models() {
        let scratch = tempfile::tempdir().unwrap();
        let golden = ["first", "second"].map(|name| scratch.path().join(name));
        for (folder, model) in golden.iter().zip(["b", "a"]) {
            let converted = Converted::from([(model.to_owned(), "digest".to_owned())]);
            write_converted(&folder.join("m").join(CONVERTED_FILE), &converted).unwrap();
            fs::write(folder.join("m").join(format!("{model}.safetensors")), model).unwrap();
        }
        let scan = |folder: &Path| Manifest::scan(folder).unwrap().files;
        let (first, second) = (scan(&golden[0]), scan(&golden[1]));
        let mut problems = Vec::new();
        let whole = union(&golden, first.clone(), second, &mut problems).unwrap();
        let names: Vec<&str> = whole.keys().map(String::as_str).collect();
        assert_eq!(names, ["m/a.safetensors", "m/b.safetensors", "m/converted.json"]);
        let both: Vec<String> =
            read_converted(&golden[0].join("m/converted.json")).unwrap().into_keys().collect();
        assert_eq!(both, ["a", "b"]);
        assert_ne!(whole["m/converted.json"], first["m/converted.json"]);
        assert!(problems.is_empty());

        union(&golden, whole, first, &mut problems).unwrap();
        assert_eq!(problems, ["both parts have m/b.safetensors"]);
    }

    #[test]
    fn a_failed_generation_says_why_at_the_end() {
        let mut command = Command::new("sh");
        command.args(["-c", "for i in $(seq 20); do echo line $i >&2; done; exit 3"]);
        let error = watch(command).unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.ends_with("line 19\nline 20"), "{error}");
        assert!(!error.contains("line 8\n"), "{error}");
    }
}
