#include "console/command_line.h"

#include <algorithm>
#include <cstdio>
#include <string_view>
#include <vector>

#include "base/version.h"
#include "console/json_output.h"
#include "console/report.h"
#include "console/spelling.h"

namespace llorch {
namespace {

// The deepest subcommand that was reached: its own help is the useful one.
const CLI::App* reached(const CLI::App* app) {
  for (;;) {
    const auto chosen = app->get_subcommands();
    if (chosen.empty()) return app;
    app = chosen.front();
  }
}

std::string path_of(const CLI::App* app) {
  std::string path;
  for (; app != nullptr; app = app->get_parent()) {
    path = app->get_name() + (path.empty() ? "" : " " + path);
  }
  return path;
}

// The nearest subcommand or flag to the first word that was not understood; empty for none.
std::string suggestion(const CLI::App* app, const std::string& word) {
  std::vector<std::string> known;
  if (word.starts_with("-")) {
    for (const auto* option : app->get_options()) {
      for (const auto& name : option->get_lnames()) known.push_back("--" + name);
    }
  } else {
    for (const auto* command : app->get_subcommands({})) known.push_back(command->get_name());
  }
  return nearest_word(word, known);
}

int report_usage(const CLI::App& app, const CLI::ParseError& error, int argc,
                 const char* const* argv) {
  const CLI::App* const at = reached(&app);
  const std::string path = path_of(at);
  Error ours{.code = Code::invalid_request, .message = path + ": " + error.what()};
  ours.next = path + " --help";
  // Words that CLI11 left over, or, where a subcommand was required, the first that names none.
  std::vector<std::string> unknown = app.remaining(true);
  if (unknown.empty()) {
    const auto commands = at->get_subcommands({});
    for (int i = 1; i < argc && !commands.empty(); ++i) {
      const std::string_view word = argv[i];
      if (word != at->get_name() && !word.starts_with("-")) unknown.emplace_back(word);
    }
  }
  for (const auto& word : unknown) {
    const std::string near = suggestion(at, word);
    if (near.empty()) continue;
    ours.next = "did you mean '" + path + " " + near + "'?";
    break;  // the first slip may have made the rest look wrong
  }
  return report(ours, exit_usage);
}

}  // namespace

void dress(CLI::App& app, const std::string& program, const std::string& description,
           const std::string& examples) {
  app.name(program);
  app.description(description);
  app.set_version_flag("--version", program + " " + std::string(version()), "Print the version");
  app.set_help_flag("-h,--help", "Print this help");
  if (!examples.empty()) app.footer("Examples:\n" + examples);
  app.get_formatter()->column_width(34);
}

std::optional<int> parse_command_line(CLI::App& app, int argc, const char* const* argv) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    print_text(reached(&app)->help());
    return exit_with_output(exit_ok);
  } catch (const CLI::CallForAllHelp&) {
    print_text(app.help("", CLI::AppFormatMode::All));
    return exit_with_output(exit_ok);
  } catch (const CLI::CallForVersion& version) {
    print_text(std::string(version.what()) + "\n");
    return exit_with_output(exit_ok);
  } catch (const CLI::ParseError& error) {
    return report_usage(app, error, argc, argv);
  }
  return std::nullopt;
}

}  // namespace llorch
