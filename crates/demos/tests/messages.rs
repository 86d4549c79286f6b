//! What the programs say to wrong uses: the exact messages, and the exit codes. Each says what was wrong, and
//! what is allowed.

#[path = "../../../tests/support/process.rs"]
mod process;

use rootstep::Level;
use std::fs;
use std::path::Path;
use std::process::Output;

/// Where the programs are; some are built with features alone.
const PROGRAMS: [(&str, Option<&str>); 4] = [
    ("iris", option_env!("CARGO_BIN_EXE_iris")),
    ("digits", option_env!("CARGO_BIN_EXE_digits")),
    ("schedules", option_env!("CARGO_BIN_EXE_schedules")),
    ("digest", option_env!("CARGO_BIN_EXE_digest")),
];

/// Runs a command line in `folder`, with the words before the program as its environment; `''` is an empty word.
/// `None` if the program is not built.
fn run(line: &str, folder: &Path) -> Option<Output> {
    let mut words = line.split(' ').map(|word| if word == "''" { "" } else { word }).peekable();
    let mut environment = Vec::new();
    while let Some((name, value)) = words.peek().and_then(|word| word.split_once('=')) {
        environment.push((name, value));
        words.next();
    }
    let name = words.next().unwrap();
    let program = PROGRAMS.iter().find(|program| program.0 == name).unwrap().1?;
    let mut command = process::command(program.as_ref());
    command.current_dir(folder).env_remove("ROOTSTEP_LEVEL").envs(environment).args(words);
    Some(command.output().unwrap())
}

/// A folder with a table, a file that is no table, and a folder.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("table.csv"), "a,b,kind\n1,2,x\n3,4,y\n5,6,x\n7,8,y\n").unwrap();
    fs::write(folder.path().join("plain"), "").unwrap();
    fs::create_dir(folder.path().join("folder")).unwrap();
    folder
}

/// The message of a wrong value on the command line.
const HELP: &str = "\n\nFor more information, try '--help'.";

#[test]
fn wrong_command_lines() {
    let folder = folder();
    let levels: Vec<&str> = Level::available().iter().map(|level| level.name()).collect();
    for (line, expected) in COMMAND_LINES {
        let expected = expected.replace("LEVELS", &levels.join(", ")).replace("HELP", HELP);
        let Some(output) = run(line, folder.path()) else { continue };
        let found = String::from_utf8(output.stderr).unwrap();
        assert_eq!(found, format!("{expected}\n"), "{line}");
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(output.stdout.is_empty(), "{line}");
    }
    // Nothing was written.
    let mut files: Vec<_> =
        folder.path().read_dir().unwrap().map(|file| file.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["folder", "plain", "table.csv"]);
}

/// Command lines, and what they print to stderr: LEVELS are those of the machine, HELP is how to get help.
const COMMAND_LINES: &[(&str, &str)] = &[
    (
        "iris --grid 1:2",
        "error: invalid value '1:2' for '--grid <FROM:TO:COUNT>': the grid is `1:2`; allowed: \
         FROM:TO:COUNT, such as 0.001:1:7HELP",
    ),
    (
        "iris --grid 0:1:5",
        "error: invalid value '0:1:5' for '--grid <FROM:TO:COUNT>': start of the grid is 0; \
         allowed: finite and greater than 0HELP",
    ),
    (
        "iris --grid -1:1:5",
        "error: invalid value '-1:1:5' for '--grid <FROM:TO:COUNT>': start of the grid is -1; \
         allowed: finite and greater than 0HELP",
    ),
    (
        "iris --grid 1:0.1:5",
        "error: invalid value '1:0.1:5' for '--grid <FROM:TO:COUNT>': end of the grid is 0.1; \
         allowed: finite and greater than its start, 1HELP",
    ),
    (
        "iris --grid 1:inf:5",
        "error: invalid value '1:inf:5' for '--grid <FROM:TO:COUNT>': end of the grid is inf; \
         allowed: finite and greater than its start, 1HELP",
    ),
    (
        "iris --grid 1:2:1",
        "error: invalid value '1:2:1' for '--grid <FROM:TO:COUNT>': number of values in the grid \
         is 1; allowed: at least 2 and at most 1000000HELP",
    ),
    (
        "iris --grid 1:2:3.5",
        "error: invalid value '1:2:3.5' for '--grid <FROM:TO:COUNT>': COUNT is `3.5`; allowed: a \
         whole number from 2 to 1000000HELP",
    ),
    (
        "iris --grid 1:2:1000001",
        "error: invalid value '1:2:1000001' for '--grid <FROM:TO:COUNT>': number of values in \
         the grid is 1000001; allowed: at least 2 and at most 1000000HELP",
    ),
    (
        "iris --grid 1:1.0000000000000002:3",
        "error: invalid value '1:1.0000000000000002:3' for '--grid <FROM:TO:COUNT>': number of \
         values in the grid is 3; allowed: so few that values between 1 and 1.0000000000000002 \
         differHELP",
    ),
    (
        "iris --grid a:1:5",
        "error: invalid value 'a:1:5' for '--grid <FROM:TO:COUNT>': FROM is `a`; allowed: a \
         number, such as 0.001HELP",
    ),
    (
        "iris --grid 1::5",
        "error: invalid value '1::5' for '--grid <FROM:TO:COUNT>': TO is ``; allowed: a number, \
         such as 0.001HELP",
    ),
    (
        "iris --grid ''",
        "error: invalid value '' for '--grid <FROM:TO:COUNT>': the grid is ``; allowed: \
         FROM:TO:COUNT, such as 0.001:1:7HELP",
    ),
    (
        "iris --grid",
        "error: a value is required for '--grid <FROM:TO:COUNT>' but none was suppliedHELP",
    ),
    (
        "iris --folds 1",
        "error: invalid value '1' for '--folds <K>': allowed: a whole number from 2 to \
         4294967295HELP",
    ),
    (
        "iris --folds 41",
        "error: Fisher's iris, column `species`: number of folds is 41; allowed: at most 40, the \
         size of the largest class of 120 rows",
    ),
    (
        "iris --folds x",
        "error: invalid value 'x' for '--folds <K>': allowed: a whole number from 2 to \
         4294967295HELP",
    ),
    (
        "iris --seed -1",
        "error: invalid value '-1' for '--seed <SEED>': allowed: a whole number from 0 to \
         18446744073709551615HELP",
    ),
    (
        "iris --seed 1.5",
        "error: invalid value '1.5' for '--seed <SEED>': allowed: a whole number from 0 to \
         18446744073709551615HELP",
    ),
    ("iris --rate 1", "error: unexpected argument '--rate' found\n\nUsage: iris [OPTIONS]HELP"),
    ("iris table.csv", "error: unexpected argument 'table.csv' found\n\nUsage: iris [OPTIONS]HELP"),
    (
        "iris --label kind",
        "error: the following required arguments were not provided:\n  --data <FILE>\n\nUsage: \
         iris --data <FILE> --label <COLUMN>HELP",
    ),
    (
        "iris --separator ;",
        "error: the following required arguments were not provided:\n  --data <FILE>\n\nUsage: \
         iris --data <FILE> --separator <SEPARATOR>HELP",
    ),
    (
        "iris --data table.csv --separator x",
        "error: invalid value 'x' for '--separator <SEPARATOR>': allowed: `,`, `;`, `tab`, `|`, \
         `:`HELP",
    ),
    (
        "iris --search best",
        "error: invalid value 'best' for '--search <HOW>'\n  [possible values: grid, random, \
         halving]HELP",
    ),
    (
        "iris --csv no/such/x.csv",
        "error: cannot write no/such/x.csv (--csv): the folder no/such does not exist; allowed: \
         a file in one that does",
    ),
    (
        "iris --csv plain/x.csv",
        "error: cannot write plain/x.csv (--csv): plain is not a folder; allowed: a file in a \
         folder",
    ),
    ("iris --csv folder", "error: cannot write folder (--csv): it is a folder; allowed: a file"),
    (
        "iris --csv new/",
        "error: cannot write new/ (--csv): its name is that of a folder; allowed: that of a file",
    ),
    ("iris --csv ''", "error: a value is required for '--csv <FILE>' but none was suppliedHELP"),
    #[cfg(target_os = "linux")]
    (
        "iris --csv /proc/x.csv",
        "error: cannot write /proc/x.csv (--csv): no file can be made in its folder: No such \
         file or directory (os error 2)",
    ),
    (
        "iris --csv plain --csv plain",
        "error: the argument '--csv <FILE>' cannot be used multiple times\n\nUsage: iris \
         [OPTIONS]HELP",
    ),
    ("iris --data none.csv", "error: cannot read none.csv: No such file or directory (os error 2)"),
    ("iris --data folder", "error: cannot read folder: Is a directory (os error 21)"),
    (
        "iris --data table.csv --label d",
        "error: table.csv has no column `d`; allowed for --label: `a`, `b`, `kind`",
    ),
    (
        "iris --data table.csv --csv table.csv",
        "error: --csv table.csv and --data table.csv are the same file; allowed: different ones",
    ),
    (
        "iris --data table.csv --csv ./folder/../table.csv",
        "error: --csv ./folder/../table.csv and --data table.csv are the same file; allowed: \
         different ones",
    ),
    (
        "iris --regularisation --folds 3",
        "error: the argument '--regularisation' cannot be used with '--folds <K>'\n\nUsage: iris \
         --regularisationHELP",
    ),
    (
        "iris --regularisation --csv x.csv",
        "error: the argument '--regularisation' cannot be used with '--csv <FILE>'\n\nUsage: \
         iris --regularisationHELP",
    ),
    (
        "iris --regularization",
        "error: unexpected argument '--regularization' found\n\n  tip: a similar argument \
         exists: '--regularisation'\n\nUsage: iris --regularisationHELP",
    ),
    (
        "ROOTSTEP_LEVEL=avx9000 iris",
        "error: ROOTSTEP_LEVEL: unknown instruction set `avx9000`; this machine has: LEVELS",
    ),
    (
        "ROOTSTEP_LEVEL= iris",
        "error: ROOTSTEP_LEVEL: unknown instruction set ``; this machine has: LEVELS",
    ),
    #[cfg(not(feature = "plot"))]
    (
        "iris --plot x.svg",
        "error: --plot is x.svg; allowed: nothing, unless built with --features plot",
    ),
    #[cfg(not(feature = "journal"))]
    (
        "iris --resume j",
        "error: --resume is j; allowed: nothing, unless built with --features journal",
    ),
    #[cfg(feature = "plot")]
    (
        "iris --plot x.jpg",
        "error: cannot draw x.jpg (--plot): its name ends in .jpg; allowed: .svg, .png",
    ),
    #[cfg(feature = "plot")]
    ("iris --plot x", "error: cannot draw x (--plot): its name has no ending; allowed: .svg, .png"),
    #[cfg(feature = "plot")]
    (
        "iris --plot no/x.svg",
        "error: cannot write no/x.svg (--plot): the folder no does not exist; allowed: a file in \
         one that does",
    ),
    #[cfg(feature = "plot")]
    (
        "iris --plot a.svg --csv a.svg",
        "error: --plot a.svg and --csv a.svg are the same file; allowed: different ones",
    ),
    #[cfg(feature = "journal")]
    (
        "iris --resume folder",
        "error: cannot write folder (--resume): it is a folder; allowed: a file",
    ),
    #[cfg(feature = "journal")]
    (
        "iris --resume no/j",
        "error: cannot write no/j (--resume): the folder no does not exist; allowed: a file in \
         one that does",
    ),
    #[cfg(feature = "journal")]
    (
        "iris --resume j --csv j",
        "error: --csv j and --resume j are the same file; allowed: different ones",
    ),
    #[cfg(feature = "journal")]
    (
        "iris --resume table.csv --data table.csv",
        "error: --resume table.csv and --data table.csv are the same file; allowed: different \
         ones",
    ),
    #[cfg(feature = "journal")]
    (
        "iris --resume table.csv",
        "error: the journal table.csv cannot be used: line 1 is not that of a search: expected \
         value at line 1 column 1",
    ),
    #[cfg(feature = "journal")]
    (
        "iris --search halving --resume j --csv ./j.148",
        "error: --csv ./j.148 and --resume j.148 are the same file; allowed: different ones",
    ),
    #[cfg(feature = "journal")]
    (
        "iris --resume j.svg --csv x.csv --data j.svg",
        "error: --resume j.svg and --data j.svg are the same file; allowed: different ones",
    ),
    (
        "digits --seeds 0",
        "error: invalid value '0' for '--seeds <SEEDS>': allowed: a whole number from 1 to \
         1000HELP",
    ),
    (
        "digits --seeds 1001",
        "error: invalid value '1001' for '--seeds <SEEDS>': allowed: a whole number from 1 to \
         1000HELP",
    ),
    (
        "digits --epochs 0",
        "error: invalid value '0' for '--epochs <EPOCHS>': allowed: a whole number from 1 to \
         4294967295HELP",
    ),
    (
        "digits --epochs 4294967296",
        "error: invalid value '4294967296' for '--epochs <EPOCHS>': allowed: a whole number from \
         1 to 4294967295HELP",
    ),
    (
        "digits --plot x.jpg",
        "error: cannot draw x.jpg (--plot): its name ends in .jpg; allowed: .svg, .png",
    ),
    (
        "digits --plot no/x.png",
        "error: cannot write no/x.png (--plot): the folder no does not exist; allowed: a file in \
         one that does",
    ),
    (
        "digits --range-test plain",
        "error: cannot draw plain (--range-test): its name has no ending; allowed: .svg, .png",
    ),
    (
        "digits --range-test a.svg --seeds 2",
        "error: the argument '--range-test <FILE>' cannot be used with '--seeds \
         <SEEDS>'\n\nUsage: digits --range-test <FILE>HELP",
    ),
    (
        "digits --formats x.txt",
        "error: cannot draw x.txt (--formats): its name ends in .txt; allowed: .svg, .png",
    ),
    (
        "digits --formats no/x.png",
        "error: cannot write no/x.png (--formats): the folder no does not exist; allowed: a file in \
         one that does",
    ),
    (
        "digits --formats a.svg --plot b.svg",
        "error: the argument '--formats <FILE>' cannot be used with '--plot \
         <FILE>'\n\nUsage: digits --formats <FILE>HELP",
    ),
    (
        "digits --range-test a.svg --formats b.svg",
        "error: the argument '--range-test <FILE>' cannot be used with '--formats \
         <FILE>'\n\nUsage: digits --range-test <FILE>HELP",
    ),
    (
        "digits --formats",
        "error: a value is required for '--formats <FILE>' but none was suppliedHELP",
    ),
    ("digits 3", "error: unexpected argument '3' found\n\nUsage: digits [OPTIONS]HELP"),
    (
        "schedules x.pdf",
        "error: cannot draw x.pdf (FILE): its name ends in .pdf; allowed: .svg, .png",
    ),
    (
        "schedules no/x.svg",
        "error: cannot write no/x.svg (FILE): the folder no does not exist; allowed: a file in \
         one that does",
    ),
    (
        "schedules folder",
        "error: cannot draw folder (FILE): its name has no ending; allowed: .svg, .png",
    ),
    (
        "schedules a.svg b.svg",
        "error: unexpected argument 'b.svg' found\n\nUsage: schedules [FILE]HELP",
    ),
    (
        "schedules --file a.svg",
        "error: unexpected argument '--file' found\n\n  tip: to pass '--file' as a value, use \
         '-- --file'\n\nUsage: schedules [FILE]HELP",
    ),
    (
        "digest --level x",
        "error: invalid value 'x' for '--level <LEVEL>': unknown instruction set `x`; this \
         machine has: LEVELSHELP",
    ),
    (
        "digest --level",
        "error: a value is required for '--level <LEVEL>' but none was suppliedHELP",
    ),
    (
        "digest --quick --quick",
        "error: the argument '--quick' cannot be used multiple times\n\nUsage: digest \
         [OPTIONS]HELP",
    ),
    ("digest x", "error: unexpected argument 'x' found\n\nUsage: digest [OPTIONS]HELP"),
    (
        "ROOTSTEP_LEVEL=x digest --quick",
        "error: ROOTSTEP_LEVEL: unknown instruction set `x`; this machine has: LEVELS",
    ),
];

#[test]
fn wrong_tables() {
    for (text, arguments, code, expected) in TABLES {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("t.csv"), text).unwrap();
        let output = run(&format!("iris --data t.csv{arguments}"), folder.path()).unwrap();
        let found = String::from_utf8(output.stderr).unwrap();
        let text = String::from_utf8_lossy(text);
        assert_eq!(found, format!("{expected}\n"), "{text}");
        assert_eq!(output.status.code(), Some(*code), "{text}");
        assert_eq!(output.stdout.is_empty(), *code != 0, "{text}");
    }
}

/// Tables, further arguments, the exit code, and what is printed to stderr: an error, or a warning.
const TABLES: &[(&[u8], &str, i32, &str)] = &[
    (b"", "", 2, "error: t.csv is empty; allowed: a line with the names of columns, and rows"),
    (
        b"\n \n\n",
        "",
        2,
        "error: t.csv is empty; allowed: a line with the names of columns, and rows",
    ),
    (b"a,b,kind\n", "", 2, "error: t.csv has the names of columns alone; allowed: rows below them"),
    (
        b"kind\nx\ny\n",
        "",
        2,
        "error: t.csv has one column, `kind`; allowed: one of labels and at least one of numbers",
    ),
    (
        b"a,kind\n1,x\n2,x\n",
        "",
        2,
        "error: t.csv, column `kind` (the labels) has `x` in every row; allowed: 2 or more \
         classes",
    ),
    (
        b"a,b,kind\n1,2,x\n3,4,y\n5,6,x\n7,8,y\n",
        "",
        2,
        "error: t.csv has 4 rows; allowed: at least 5, of which one is held out",
    ),
    (
        b"a,b,kind\n1,2,x\n3,4,y\n5,6,z\n7,8,u\n",
        "",
        2,
        "error: t.csv, column `kind` (the labels) has 4 classes in 4 rows; allowed: at most half \
         as many as rows. Another column is named by --label; there are `a`, `b`, `kind`",
    ),
    (
        b"a,b,kind\n1,2,x\n3,,y\n",
        "",
        2,
        "error: t.csv, line 3, column `b`: the cell is empty; allowed: numbers from -1e100 to \
         1e100",
    ),
    (
        b"a,b,kind\n1,2,x\n3,NA,y\n",
        "",
        2,
        "error: t.csv, line 3, column `b`: `NA` is not a number; allowed: numbers from -1e100 to \
         1e100",
    ),
    (
        b"a,b,kind\n1,2,x\n3,NaN,y\n",
        "",
        2,
        "error: t.csv, line 3, column `b`: `NaN` is not a number; allowed: numbers from -1e100 \
         to 1e100",
    ),
    (
        b"a,b,kind\n1,2,x\n3,-inf,y\n",
        "",
        2,
        "error: t.csv, line 3, column `b`: `-inf` is too large; allowed: numbers from -1e100 to \
         1e100",
    ),
    (
        b"a,b,kind\n1,2,x\n3,4e99,y\n3,4e100,y\n",
        "",
        2,
        "error: t.csv, line 4, column `b`: `4e100` is too large; allowed: numbers from -1e100 to \
         1e100",
    ),
    (
        b"a,b,kind\r\n1,2,x\r\n3,four,y\r\n",
        "",
        2,
        "error: t.csv, line 3, column `b`: `four` is not a number; allowed: numbers from -1e100 \
         to 1e100",
    ),
    (
        b"a,b,kind\r1,2,x\r3,four,y\r",
        "",
        2,
        "error: t.csv, line 3, column `b`: `four` is not a number; allowed: numbers from -1e100 \
         to 1e100",
    ),
    (
        b"\xef\xbb\xbfa,b,kind\n\n1,2,x\n\n\nfour,3,y\n",
        "",
        2,
        "error: t.csv, line 6, column `a`: `four` is not a number; allowed: numbers from -1e100 \
         to 1e100",
    ),
    (
        b"a,b,kind\n1,2,x\n3,4, \n",
        "",
        2,
        "error: t.csv, line 3, column `kind`: the label is missing; allowed: any text",
    ),
    (
        b"a,b,kind\n1,2,x\n3,1_000,y\n",
        "",
        2,
        "error: t.csv, line 3, column `b`: `1_000` is not a number; allowed: numbers from -1e100 \
         to 1e100",
    ),
    (
        b"a,b,kind\n1,2,x\n3,\"1,5\",y\n",
        "",
        2,
        "error: t.csv, line 3, column `b`: `1,5` is not a number; allowed: numbers from -1e100 \
         to 1e100, with a decimal point",
    ),
    (
        b"a;b;kind\n1;2;x\n3;1,5;y\n",
        " --separator ;",
        2,
        "error: t.csv, line 3, column `b`: `1,5` is not a number; allowed: numbers from -1e100 \
         to 1e100, with a decimal point",
    ),
    (
        b"kind,a,b\nx,1,2\ny,3,4\n",
        "",
        2,
        "error: t.csv, line 2, column `kind`: `x` is not a number; allowed: numbers from -1e100 \
         to 1e100; if this column has the labels, name it by --label",
    ),
    (
        b"kind,a,b\n0,0,0.5\n1,1,3.5\n0,4,5.5\n1,4,6.5\n0,1,6.5\n1,0,5.5\n0,1,3.5\n1,4,0.5\n",
        "",
        2,
        "warning: t.csv, line 2, column `b`: the label `0.5` is a number with a fraction. Each \
         such number is a class of its own; --label names another column\nerror: t.csv, column \
         `b`: number of folds is 5; allowed: at most 2, the size of the largest class of 7 rows",
    ),
    (
        b"a,b,kind\n1,2,x\n3,55555555555555555555555555555555555555555555555555555555555555555555555555555555555555555555555555555555555555,y\n",
        "",
        2,
        "error: t.csv, line 3, column `b`: \
         `555555555555555555555555555555555555555555555555555555555555…` is too large; allowed: \
         numbers from -1e100 to 1e100",
    ),
    (
        b"a,b,kind\n1,2,x\n3,\"four\tfive\",y\n",
        "",
        2,
        "error: t.csv, line 3, column `b`: `four\\tfive` is not a number; allowed: numbers from \
         -1e100 to 1e100",
    ),
    (
        b"a,b,kind\n1,2,x\n2,1,y\n1,3,\"x\n2,2,y\n",
        "",
        2,
        "error: t.csv, line 4, column `kind`: the quote that begins here does not end on this \
         line; allowed: cells of one line",
    ),
    (
        b"a,b,kind\n1,2,x\n2,1,\"y",
        "",
        2,
        "error: t.csv, line 3, column `kind`: the quote that begins here does not end on this \
         line; allowed: cells of one line",
    ),
    (
        b"a,b,kind\n1,\"2,x\n2,1\",y\n",
        "",
        2,
        "error: t.csv, line 2, column `b`: the quote that begins here does not end on this line; \
         allowed: cells of one line",
    ),
    (
        b"a,\"b,kind\n1,2,x\n",
        "",
        2,
        "error: t.csv, line 1, column 2: the quote that begins here does not end on this line; \
         allowed: cells of one line",
    ),
    (
        b"a,b,kind\n1,2,x\n3,4\n",
        "",
        2,
        "error: t.csv, line 3 has 2 cells; allowed: 3, as in the first line",
    ),
    (
        b"a,b,kind\n1,2,x\n\n3,4,y,5\n",
        "",
        2,
        "error: t.csv, line 4 has 4 cells; allowed: 3, as in the first line",
    ),
    (
        b"a,b,kind\n1,2,x,\n",
        "",
        2,
        "error: t.csv, line 2 has 4 cells; allowed: 3, as in the first line, and no separator at \
         the end",
    ),
    (
        b"a,b,kind\n1,2,x\n# the end\n",
        "",
        2,
        "error: t.csv, line 3 has 1 cell; allowed: 3, as in the first line, and no comments",
    ),
    (
        b"# a comment\na,b,kind\n1,2,x\n",
        "",
        2,
        "error: t.csv, line 1 begins with `#`; allowed: the names of the columns, and no \
         comments",
    ),
    (
        b",a,kind\n0,1,x\n1,2,y\n",
        "",
        2,
        "error: t.csv, line 1: column 1 has no name (an index, as other programs write it?); \
         allowed: a name for each column, and no column that is neither a feature nor the label",
    ),
    (
        b"a,b,kind,\n1,2,x,\n",
        "",
        2,
        "error: t.csv, line 1: column 4 has no name (does the line end in a separator?); \
         allowed: a name for each column, and no column that is neither a feature nor the label",
    ),
    (
        b"a, ,kind\n1,2,x\n",
        "",
        2,
        "error: t.csv, line 1: column 2 has no name; allowed: a name for each column, and no \
         column that is neither a feature nor the label",
    ),
    (
        b"a,b, a,kind\n1,2,3,x\n",
        "",
        2,
        "error: t.csv, line 1: the columns 1 and 3 are both named `a`; allowed: different names",
    ),
    (
        b"a;b;kind\n1;2;x\n3;4;y\n",
        "",
        2,
        "error: t.csv, line 1 is one cell, `a;b;kind`: another separator seems to be used; try \
         --separator ';'",
    ),
    (
        b"a\tb\tkind\n1\t2\tx\n3\t4\ty\n",
        "",
        2,
        "error: t.csv, line 1 is one cell, `a\\tb\\tkind`: another separator seems to be used; \
         try --separator 'tab'",
    ),
    (
        b"a|b|kind\n1|2|x\n3|4|y\n",
        "",
        2,
        "error: t.csv, line 1 is one cell, `a|b|kind`: another separator seems to be used; try \
         --separator '|'",
    ),
    (
        b"a,b,kind\n1,2,x\n",
        " --separator tab",
        2,
        "error: t.csv, line 1 is one cell, `a,b,kind`: another separator seems to be used; try \
         --separator ','",
    ),
    (
        b"a,b,kind\n1,2,x\n3,4,caf\xe9\n",
        "",
        2,
        "error: t.csv, line 3: the byte 0xe9 is not UTF-8; allowed: text in UTF-8",
    ),
    (b"\xff\xfea\x00,\x00b\x00", "", 2, "error: t.csv is text in UTF-16; allowed: UTF-8"),
    (
        b"a,b,kind\n1,2,x\n3,4,y\x00\n",
        "",
        2,
        "error: t.csv, line 3: the character U+0000 is not text; allowed: text in UTF-8",
    ),
    (
        b"0.5,0.7,x\n0.5,0,x\n1.5,1,y\n4.5,0,x\n2.5,1,y\n2.5,0,x\n4.5,1,y\n1.5,0,x\n0.5,1,y\n1.5,0,x\n4.5,1,y\n2.5,0,x\n2.5,1,y\n",
        "",
        0,
        "warning: t.csv, line 1: the columns are named by numbers alone. Is a line with their \
         names missing? This one is not used as a row",
    ),
    (
        b"id,b,kind\n1,0,x\n2,2,y\n3,1,x\n4,0,y\n5,2,x\n6,1,y\n7,0,x\n8,2,y\n9,1,x\n10,0,y\n11,2,x\n12,1,y\n",
        "",
        0,
        "warning: t.csv, column `id` numbers the rows. An index is no feature: is the column to \
         be used?",
    ),
    (
        b"a,same,other,kind\n0,7,-0.5,x\n1,7,-0.5,y\n2,7,-0.5,x\n0,7,-0.5,y\n1,7,-0.5,x\n2,7,-0.5,y\n0,7,-0.5,x\n1,7,-0.5,y\n2,7,-0.5,x\n0,7,-0.5,y\n1,7,-0.5,x\n2,7,-0.5,y\n",
        "",
        0,
        "warning: t.csv: the same number is in every row of `same`, `other`",
    ),
    (
        b"a,b,kind\n0,0,NA\n1,1,y\n2,2,NA\n3,0,y\n4,1,NA\n5,2,y\n6,0,NA\n0,1,y\n1,2,NA\n2,0,y\n3,1,NA\n4,2,y\n",
        "",
        0,
        "warning: t.csv, line 2, column `kind`: the label `NA` may stand for a missing one. It \
         is a class like the others",
    ),
    (
        b"a,b,kind\n0,0,0.5\n1,1,2\n2,2,0.5\n3,0,2\n4,1,0.5\n5,2,2\n6,0,0.5\n0,1,2\n1,2,0.5\n2,0,2\n3,1,0.5\n4,2,2\n",
        "",
        0,
        "warning: t.csv, line 2, column `kind`: the label `0.5` is a number with a fraction. \
         Each such number is a class of its own; --label names another column",
    ),
    (
        b"a,b,kind\n0,0, \"x\"\n1,1, \"y\"\n2,2, \"x\"\n3,0, \"y\"\n4,1, \"x\"\n5,2, \"y\"\n6,0, \
          \"x\"\n0,1, \"y\"\n1,2, \"x\"\n2,0, \"y\"\n3,1, \"x\"\n4,2, \"y\"\n",
        "",
        0,
        "warning: t.csv, line 2, column `kind`: the label `\"x\"` has a quote within. Quotes \
         count where a whole cell is between them",
    ),
    (
        b"a,b,kind\n0,0,Y\n1,1,y\n2,2,Y\n3,0,y\n4,1,Y\n5,2,y\n6,0,Y\n0,1,y\n1,2,Y\n2,0,y\n3,1,Y\n4,2,y\n",
        "",
        0,
        "warning: t.csv, column `kind`: some labels differ only in capital letters. Each is a \
         class of its own",
    ),
    (
        b"a,b,kind\n0,0,y\n1,1,y\n2,2,y\n3,0,x\n4,1,x\n5,2,x\n6,0,x\n0,1,x\n1,2,x\n2,0,x\n3,1,x\n4,2,x\n",
        "",
        0,
        "warning: t.csv, column `kind`: the smallest class has 2 rows, fewer than the 5 folds",
    ),
];

/// A row that was left out is named: the others alone are the published ones.
#[cfg(feature = "digest")]
#[test]
fn the_digest_names_what_it_did_not_check() {
    let folder = tempfile::tempdir().unwrap();
    let output = run("digest --quick --level portable", folder.path()).unwrap();
    let rows = String::from_utf8(output.stdout).unwrap().lines().count();
    let published = rows + 1;
    let expected = format!(
        "portable: {rows} of the {published} digests of PROMISES.md are the same; not checked: \
         signed_sqrt of all 2^32 f32\n"
    );
    assert_eq!(String::from_utf8(output.stderr).unwrap(), expected);
    assert_eq!(output.status.code(), Some(0));
}
