// llorch-pool: backends, models and worker processes of one host. Wiring only.
#include "pool/commands.h"

int main(int argc, char** argv) {
  return llorch::run_pool(argc, argv);
}
