#include "sys/interrupt.h"

#include <unistd.h>

namespace llorch {
namespace {

constexpr int exit_base = 128;  // what a shell makes of death by a signal

volatile sig_atomic_t noted = 0;

void note(int number) {
  if (noted != 0) ::_exit(exit_base + number);  // whoever asks twice does not want to wait
  noted = number;
}

void watch(int number, struct sigaction& before) {
  ::sigaction(number, nullptr, &before);
  if (before.sa_handler == SIG_IGN) return;
  struct sigaction noting{};
  noting.sa_handler = note;  // without SA_RESTART: waits end early and look
  ::sigaction(number, &noting, nullptr);
}

}  // namespace

InterruptGuard::InterruptGuard() {
  watch(SIGINT, interrupt_);
  watch(SIGTERM, terminate_);
}

InterruptGuard::~InterruptGuard() {
  ::sigaction(SIGINT, &interrupt_, nullptr);
  ::sigaction(SIGTERM, &terminate_, nullptr);
}

int interrupt_number() {
  return noted;
}

void die_of(int number) {
  ::signal(number, SIG_DFL);
  ::raise(number);
  ::_exit(exit_base + number);
}

}  // namespace llorch
