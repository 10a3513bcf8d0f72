#include <boost/json.hpp>
#include <gtest/gtest.h>

#include "console/command_line.h"
#include "console/json_output.h"
#include "console/progress.h"
#include "console/report.h"
#include "console/spelling.h"
#include "console/table.h"
#include "console/terminal.h"
#include "console/waiting_line.h"

namespace llorch {
namespace {

using namespace std::chrono_literals;

class HeldClock final : public Clock {
 public:
  SteadyTime now() const override { return SteadyTime{} + at; }
  WallTime wall() const override { return {}; }
  std::chrono::milliseconds at{0};
};

// clause: C-3
TEST(Table, FitsItsWidthByShorteningTheWidestTextColumn) {
  Table table({{"ID"}, {"NAME", false, true}, {"SIZE", true}});
  table.add({"smollm2", std::string(100, 'n'), "98.1 MB"});
  table.add({"x", "", "4 B"});
  EXPECT_EQ(table.render(40),
            "ID       NAME                       SIZE\n"
            "smollm2  nnnnnnnnnnnnnnnnnnnnn…  98.1 MB\n"
            "x        -                           4 B\n");
}

TEST(Table, LetsNoControlCharacterThrough) {
  Table table({{"NAME"}});
  table.add({"a\x1b[31mb\nc"});
  EXPECT_EQ(table.render(), "NAME\na [31mb c\n");
}

TEST(Terminal, MeasuresTextInColumns) {
  struct Case {
    const char* name;
    std::string_view text;
    std::size_t columns;
  };
  const Case cases[] = {{"plain", "abc", 3},
                        {"umlaut", "ä", 1},
                        {"check mark", "✅", 2},
                        {"CJK", "漢字", 4},
                        {"combining", "e\xCC\x81", 1},
                        {"stray byte", "\xFF", 1},
                        {"cut character", "\xE6\xBC", 2}};
  for (const auto& [name, text, columns] : cases) {
    SCOPED_TRACE(name);
    EXPECT_EQ(display_width(text), columns);
  }
  EXPECT_EQ(shorten("漢字漢字", 5), "漢字…");
}

TEST(Terminal, PrintsSizesAsDisksDo) {
  EXPECT_EQ(human_bytes(999), "999 B");
  EXPECT_EQ(human_bytes(98'123'456), "98.1 MB");
  EXPECT_EQ(human_bytes(999'960), "1.0 MB");
  EXPECT_EQ(human_bytes(4'370'000'000), "4.4 GB");
  EXPECT_EQ(human_duration(59), "59s");
  EXPECT_EQ(human_duration(185), "3m 5s");
  EXPECT_EQ(human_duration(7'265), "2h 1m");
}

// clause: P-11
TEST(Progress, PrintsOnePlainLineEachFiveSecondsWhenNotATerminal) {
  HeldClock clock;
  std::string out;
  Progress progress("m", Terminal{}, clock, [&](const std::string& bytes) { out += bytes; });
  for (int second = 0; second <= 11; ++second) {
    clock.at = std::chrono::seconds(second);
    progress.update(static_cast<std::uint64_t>(second) * 10'000'000, 200'000'000);
  }
  progress.finish();
  EXPECT_EQ(out,
            "m   25%  50.0 MB of 200.0 MB  10.0 MB/s  16s left\n"
            "m   50%  100.0 MB of 200.0 MB  10.0 MB/s  11s left\n"
            "m   55%  110.0 MB of 200.0 MB  10.0 MB/s\n");
}

TEST(Progress, RedrawsInPlaceOnATerminalAtMostTenTimesASecond) {
  HeldClock clock;
  int draws = 0;
  std::string last;
  {
    Progress progress("m", Terminal{true, 80}, clock, [&](const std::string& bytes) {
      ++draws;
      last = bytes;
    });
    for (int ms = 0; ms < 1000; ++ms) {
      clock.at = std::chrono::milliseconds(ms);
      progress.update(static_cast<std::uint64_t>(ms), 1000);
    }
    EXPECT_LE(draws, 11);
    EXPECT_TRUE(last.starts_with('\r'));
    EXPECT_LE(display_width(last), 80U + 1);
  }
  EXPECT_EQ(last, "\n");
}

// clause: C-3
TEST(Progress, CoversALongerLineWithBlanksAndNoEscapeSequence) {
  HeldClock clock;
  std::string out;
  Progress progress("m", Terminal{true, 80}, clock,
                    [&](const std::string& bytes) { out += bytes; });
  progress.update(999'900'000, 0);
  clock.at = 1s;
  progress.update(1'000'000'000, 0);
  progress.finish();
  EXPECT_EQ(out, "\rm  999.9 MB\rm  1.0 GB  100.0 kB/s\rm  1.0 GB  100.0 kB/s\n");
  out.clear();
  WaitingLine line([&](std::string_view text) { out += text; }, true);
  line.show("ä long");
  line.show("b");
  line.clear();
  line.clear();
  EXPECT_EQ(out, "\r| ä long\r/ b     \r   \r");
}

TEST(Spelling, FindsTheNearWordAndNoFarOne) {
  const std::vector<std::string> known = {"spawn", "list", "cleanup", "stop"};
  EXPECT_EQ(nearest_word("spwan", known), "spawn");
  EXPECT_EQ(nearest_word("lst", known), "list");
  EXPECT_EQ(nearest_word("clean-up", known), "cleanup");
  EXPECT_EQ(nearest_word("frobnicate", known), "");
}

TEST(Json, IsIndentedAndParsesBack) {
  const boost::json::value value = {{"a", {1, 2}}, {"b", boost::json::object{}}, {"c", "\n"}};
  EXPECT_EQ(pretty_json(value),
            "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": {},\n  \"c\": \"\\n\"\n}");
  EXPECT_EQ(boost::json::parse(pretty_json(value)), value);
}

struct Parsed {
  std::optional<int> code;
  std::string out;
  std::string err;
};
Parsed parse(const std::vector<const char*>& words) {
  CLI::App app;
  dress(app, "llorch-pool", "A pool.", "  llorch-pool worker list");
  app.require_subcommand(1);
  auto* const worker = app.add_subcommand("worker", "Workers");
  worker->require_subcommand(1);
  auto* const spawn = worker->add_subcommand("spawn", "Start one");
  int port = 0;
  spawn->add_option("--port", port, "Port");
  worker->add_subcommand("list", "List them");
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  Parsed parsed;
  parsed.code = parse_command_line(app, static_cast<int>(words.size()), words.data());
  parsed.out = testing::internal::GetCapturedStdout();
  parsed.err = testing::internal::GetCapturedStderr();
  return parsed;
}

// clause: E-7
TEST(CommandLine, UsageErrorsExitTwoAndSayWhatToDo) {
  struct Case {
    const char* name;
    std::vector<const char*> words;
    const char* next;
  };
  const Case cases[] = {
      {"misspelt group", {"llorch-pool", "wroker"}, "next: did you mean 'llorch-pool worker'?\n"},
      {"misspelt command",
       {"llorch-pool", "worker", "spwan"},
       "next: did you mean 'llorch-pool worker spawn'?\n"},
      {"misspelt flag",
       {"llorch-pool", "worker", "spawn", "--prot", "1"},
       "next: did you mean 'llorch-pool worker spawn --port'?\n"},
      {"no command", {"llorch-pool"}, "next: llorch-pool --help\n"},
      {"not a number",
       {"llorch-pool", "worker", "spawn", "--port", "x"},
       "next: llorch-pool worker spawn --help\n"}};
  for (const auto& [name, words, next] : cases) {
    SCOPED_TRACE(name);
    const auto parsed = parse(words);
    EXPECT_EQ(parsed.code, exit_usage);
    EXPECT_TRUE(parsed.err.starts_with("error: ")) << parsed.err;
    EXPECT_NE(parsed.err.find(next), std::string::npos) << parsed.err;
    EXPECT_EQ(parsed.out, "");
  }
}

// clause: C-1
TEST(CommandLine, HelpHasExamplesAndVersionNamesTheProgram) {
  const auto help = parse({"llorch-pool", "--help"});
  EXPECT_EQ(help.code, exit_ok);
  EXPECT_NE(help.out.find("Examples:\n  llorch-pool worker list"), std::string::npos) << help.out;
  const auto version = parse({"llorch-pool", "--version"});
  EXPECT_EQ(version.code, exit_ok);
  EXPECT_TRUE(version.out.starts_with("llorch-pool ")) << version.out;
  EXPECT_EQ(parse({"llorch-pool", "worker", "list"}).code, std::nullopt);
}

// clause: E-7
TEST(Report, NamesTheProgramsHelpWhereNothingBetterIsKnown) {
  testing::internal::CaptureStderr();
  report(Error{.code = Code::internal, .message = "it broke"});
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "error: it broke\nnext: console_test --help\n");
}

TEST(CommandLine, SuggestsForTheFirstWordThatWasNotUnderstood) {
  const auto parsed = parse({"llorch-pool", "worker", "spawn", "--prot", "1", "--hlep"});
  EXPECT_NE(parsed.err.find("worker spawn --port'?"), std::string::npos) << parsed.err;
}

// Prints to a disk that is full, and ends as a program would.
[[noreturn]] void print_to_a_full_disk(int code) {
  const bool full = std::freopen("/dev/full", "w", stdout) != nullptr;
  const bool printed = print_text("a list\n");
  std::_Exit(full && !printed ? exit_with_output(code) : 99);
}

// `models catalog --json > FILE` on a full disk left half a document, and ended with 0.
// clause: E-6, E-7
TEST(Output, ThatCannotBeWrittenIsAFailureWithItsReason) {
  EXPECT_EXIT(print_to_a_full_disk(exit_ok), testing::ExitedWithCode(exit_failure),
              "error: stdout: cannot be written: No space left on device\nnext: ");
  EXPECT_EXIT(print_to_a_full_disk(exit_partly_done), testing::ExitedWithCode(exit_partly_done),
              "No space left on device");
  EXPECT_EQ(exit_with_output(exit_ok), exit_ok);
}

// A server's message could clear the screen, or print a second "next:" of its own.
// clause: E-7
TEST(Report, LetsNoControlCharacterOfAServerThrough) {
  testing::internal::CaptureStderr();
  report(Error{.code = Code::internal,
               .message = "a\x1b[2Jb\nnext: rm\xC2\x9B"
                          "c ü"});
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "error: a [2Jb next: rm c ü\nnext: console_test --help\n");
}

// clause: E-6, E-7
TEST(Report, PrintsWhatWhyAndNextAndGivesTheExitCode) {
  testing::internal::CaptureStderr();
  const int code = report(Error{.code = Code::model_not_found,
                                .message = "model 'x': unknown",
                                .next = "llorch-pool models catalog"});
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "error: model 'x': unknown\nnext: llorch-pool models catalog\n");
  EXPECT_EQ(code, exit_not_found);
}

}  // namespace
}  // namespace llorch
