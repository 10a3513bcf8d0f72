// Boost.JSON's definitions, once for every program: Debian's package of it is headers only here.
#include <boost/json/src.hpp>
