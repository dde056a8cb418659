#include "analyzer/render/json.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <nlohmann/json.hpp>

namespace oomtrace {
namespace {

using Json = nlohmann::ordered_json;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

Json MessageToJson(const Message& message);

Json Single(const Message& message, const Reflection& r, const FieldDescriptor* field) {
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT64:
      return r.GetInt64(message, field);
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return r.GetDouble(message, field);
    case FieldDescriptor::CPPTYPE_BOOL:
      return r.GetBool(message, field);
    case FieldDescriptor::CPPTYPE_STRING:
      return r.GetString(message, field);
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return MessageToJson(r.GetMessage(message, field));
    default:
      return nullptr;  // report.proto has no field of another type; json_test walks all of them
  }
}

Json Element(const Message& message, const Reflection& r, const FieldDescriptor* field, int i) {
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT64:
      return r.GetRepeatedInt64(message, field, i);
    case FieldDescriptor::CPPTYPE_STRING:
      return r.GetRepeatedString(message, field, i);
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return MessageToJson(r.GetRepeatedMessage(message, field, i));
    default:
      return nullptr;
  }
}

Json MessageToJson(const Message& message) {
  Json object = Json::object();
  const Reflection& reflection = *message.GetReflection();
  const google::protobuf::Descriptor& type = *message.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor* field = type.field(i);
    if (!field->is_repeated()) {
      object[field->name()] = Single(message, reflection, field);
      continue;
    }
    Json array = Json::array();
    for (int k = 0; k < reflection.FieldSize(message, field); ++k)
      array.push_back(Element(message, reflection, field, k));
    object[field->name()] = std::move(array);
  }
  return object;
}

// Paths and names are the user's bytes: what is not UTF-8 is replaced, never thrown at.
std::string Print(const Json& json) { return json.dump(2, ' ', false, Json::error_handler_t::replace); }

}  // namespace

std::string RenderJson(const report::Report& report) { return Print(MessageToJson(report)); }

std::string RenderJson(const report::Report& report, const report::Job& job) {
  Json object = Json::object();
  object["job"] = MessageToJson(job);
  const Json fields = MessageToJson(report);
  for (const auto& [name, value] : fields.items()) object[name] = value;
  return Print(object);
}

}  // namespace oomtrace
