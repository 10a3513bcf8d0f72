# SQLite's amalgamation as the static library sqlite, from the source package that
# third_party/Cargo.lock pins. Optimised in every preset, and built by each, so that the address and
# the thread sanitizer see into it too; UBSan, which is for our own code, would take four minutes.
set(sqlite_dir "${CMAKE_SOURCE_DIR}/third_party/vendor/libsqlite3-sys/sqlite3")
if(NOT EXISTS "${sqlite_dir}/sqlite3.c")
  message(FATAL_ERROR "SQLite is not at ${sqlite_dir}. Next: tools/setup.sh")
endif()
add_library(sqlite STATIC "${sqlite_dir}/sqlite3.c")
target_include_directories(sqlite SYSTEM INTERFACE "${sqlite_dir}")
if(LLORCH_SANITIZE)
  target_compile_options(sqlite PRIVATE -w -O1 -fno-sanitize=undefined)
else()
  target_compile_options(sqlite PRIVATE -w -O2)
endif()
target_compile_definitions(sqlite PRIVATE
  NDEBUG
  SQLITE_THREADSAFE=2           # a connection stays on one thread
  SQLITE_DEFAULT_SYNCHRONOUS=2  # FULL, and FULL for a write-ahead log too
  SQLITE_DEFAULT_WAL_SYNCHRONOUS=2
  SQLITE_DEFAULT_FOREIGN_KEYS=1
  SQLITE_SECURE_DELETE=1        # what is deleted is overwritten: prompts
  SQLITE_TEMP_STORE=3           # in memory only: no prompt in a file of /tmp
  SQLITE_DEFAULT_MEMSTATUS=0    # no lock around each allocation
  SQLITE_DQS=0                  # "text" is a column, never a string
  SQLITE_LIKE_DOESNT_MATCH_BLOBS
  SQLITE_MAX_ATTACHED=2         # VACUUM INTO needs one
  SQLITE_USE_ALLOCA
  SQLITE_OMIT_LOAD_EXTENSION
  SQLITE_OMIT_SHARED_CACHE
  SQLITE_OMIT_DEPRECATED
  HAVE_USLEEP=1)
if(NOT APPLE)
  target_compile_definitions(sqlite PRIVATE HAVE_FDATASYNC=1)
endif()
target_link_libraries(sqlite PUBLIC Threads::Threads)
