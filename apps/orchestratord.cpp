// orchestratord: one endpoint for a fleet of workers. Wiring only.
#include <variant>

#include "console/report.h"
#include "orchestrator/options.h"
#include "orchestrator/serve.h"
#include "pool/root.h"
#include "store/backup.h"
#include "sys/file_system.h"

int main(int argc, char** argv) {
  using namespace llorch;
  const auto root = find_root(*make_file_system()).path;
  const auto settings = load_settings(default_settings_sources(root));
  if (!settings) return report(settings.error());
  const auto command = parse_orchestrator_command(argc, argv, *settings, root);
  if (!command) return report(command.error());
  if (const auto* done = std::get_if<ExitNow>(&*command)) return done->code;
  if (const auto* copy = std::get_if<CopyDatabase>(&*command)) {
    const auto& db = copy->orchestrator.db_path;
    const auto copied =
        copy->restore ? restore_database(copy->file, db) : backup_database(db, copy->file);
    return copied ? exit_ok : report(copied.error());
  }
  return orchestrate_until_stopped(std::get<OrchestratorOptions>(*command));
}
